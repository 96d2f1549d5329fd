"""Videos of different tempo, trained on as if all had the same: strides count cycles of the motion.

SCP takes two videos at the same stride for equally fast. Where tempos differ they are not; here
they are, so what SCP teaches is seen apart from how far its assumption holds.
"""

from dataclasses import replace

from trainer.data.training_set import TrainingSet
from trainer.errors import TrainerError

TEMPO = 1.2  # cycles a second; the middle of 0.9 and 2.4, or the clips of slow videos do not fit


def at_even_tempo(data: TrainingSet) -> TrainingSet:
    """Stride 1 goes as far in every video's cycle as a frame does at `TEMPO`. Raises TrainerError
    if the videos have no factor `cycles_per_second` (`shapes` has, to 10 %)."""
    timings = []
    for video, timing in zip(data.videos, data.timings, strict=True):
        tempo = (video.factors or {}).get("cycles_per_second")
        if tempo is None:
            raise TrainerError(f"{video.name} has no cycles_per_second among its factors.")
        timings.append(replace(timing, rate=timing.rate * TEMPO / tempo))
    return replace(data, timings=tuple(timings))
