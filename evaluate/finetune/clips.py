"""Draw the clips of labelled videos for training: pure functions of (seed, step)."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from hashlib import sha256

import numpy as np

from builder.shards.dataset import Video
from evaluate.errors import EvaluateError
from evaluate.probe.probe import HELD_OUT, held_out_rows
from evaluate.protocol import Protocol, clips_of
from trainer.data.clip_policy import Place, clip_frames, random_shot, random_start
from trainer.data.clip_sampler import Batches, ClipRequest, Permutations, timings_of
from trainer.random_streams import CLIPS, generator_of


@dataclass(frozen=True)
class LabelledVideos:
    """The labelled videos of one part of a split.

    Attributes:
        labels: int64, one per video, from 0 to the number of classes - 1
    """

    videos: Sequence[Video]
    labels: np.ndarray

    def digest(self) -> str:
        """A hash of the videos, their order and their labels, but not of their location."""
        lines = [
            f"{v.name}\t{label}\t{v.group}\t{v.frames}\t{v.fps}\t{v.height}\t{v.width}\t"
            f"{v.location.blob_bytes}{v.times or ''}{v.cuts or ''}\n"
            for v, label in zip(self.videos, self.labels.tolist(), strict=True)
        ]
        return sha256("".join(lines).encode(errors="surrogatepass")).hexdigest()

    def where(self, wanted: np.ndarray) -> "LabelledVideos":
        """The videos for which `wanted` (bool, one per video) is true."""
        videos = [v for v, keep in zip(self.videos, wanted.tolist(), strict=True) if keep]
        return LabelledVideos(videos, self.labels[wanted])


def must_be_usable(part: LabelledVideos, name: str, classes: int) -> None:
    """Raise EvaluateError if a part has no videos, or labels out of range."""
    if not part.videos:
        raise EvaluateError(
            f"The {name} part has no labelled videos, so there is nothing to train or test on. "
            "Choose another split or data set."
        )
    wrong = (part.labels < 0) | (part.labels >= classes)
    if wrong.any():
        first = int(np.argmax(wrong))
        raise EvaluateError(
            f"{part.videos[first].name} of the {name} part has label {part.labels[first]}; with "
            f"{classes} classes labels are 0 to {classes - 1}. Leave unlabelled videos out."
        )


def hold_out(part: LabelledVideos) -> tuple[LabelledVideos, LabelledVideos]:
    """Split a part into videos to train on and held-out ones: every fifth source group is held out.
    Raises EvaluateError if there are too few groups, or if those have no class of the others."""
    groups = len({v.group for v in part.videos})
    if groups < HELD_OUT:
        raise EvaluateError(
            f"choose is 'holdout', which holds out every {HELD_OUT}th source group of the train "
            f"part, but there are only {groups}. Pass --set classifier.choose=last."
        )
    held = held_out_rows([v.group for v in part.videos])
    if not np.isin(part.labels[held], part.labels[~held]).any():
        raise EvaluateError(
            f"choose is 'holdout', which holds out every {HELD_OUT}th source group of the train "
            "part, but these are of classes that the others lack. Pass --set "
            "classifier.choose=last, or give recordings of several classes one group."
        )
    return part.where(~held), part.where(held)


def train_requests(
    videos: Sequence[Video], protocol: Protocol, batches: Batches, seed: int
) -> Generator[list[ClipRequest], None, None]:
    """Draw the clips of a rank's share of these batches: one list per step, with one clip at a
    random position of each video. The videos follow an endless sequence of permutations, so all are
    seen equally often and every batch is full, even with few videos. The content of joint batch i
    depends on (seed, i) alone. Raises EvaluateError if a video is too short for the policy
    `error`."""
    clips_of(videos, protocol)
    timings = timings_of(videos, protocol.fps)
    places = [timing.shots(protocol.frames, protocol.stride) for timing in timings]
    shuffled = Permutations(len(videos), seed)
    return _requests(places, shuffled, protocol, batches, seed)


def _requests(
    places: list[list[Place]],
    shuffled: Permutations,
    protocol: Protocol,
    batches: Batches,
    seed: int,
) -> Generator[list[ClipRequest], None, None]:
    for step in batches.numbers:
        drawn = [(draw, shuffled[draw]) for draw in batches.draws(step)]
        yield [_draw(draw, video, places[video], protocol, seed) for draw, video in drawn]


def _draw(draw: int, video: int, shots: list[Place], protocol: Protocol, seed: int) -> ClipRequest:
    policy, rng = protocol.short_videos, generator_of(seed, draw, CLIPS)
    place = shots[random_shot(rng, shots) if len(shots) > 1 else 0]
    start = random_start(rng, place, policy)
    return ClipRequest(video, clip_frames(start, place, policy), protocol.stride)


def epoch_ends(videos: int, batch: int, total: int) -> dict[int, int]:
    """The steps after which epochs end: {step: epoch}; the last step is `total`. If several epochs
    end with the same step, because there are few videos, only the last of them is listed.

        videos = 100, batch = 32, total = 9     {3: 1, 6: 2, 9: 3}
    """
    ends: dict[int, int] = {}
    epoch, end = 0, 0
    while end < total:
        epoch += 1
        end = min(total, round(epoch * videos / batch))
        if end:
            ends[end] = epoch
    return ends
