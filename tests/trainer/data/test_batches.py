"""Videos of known motion through the loader: where the bar is says when a frame was taken."""

import numpy as np
import pytest
import torch

from tests.drawn_motion import seconds_of
from trainer.config.recipe_file import override
from trainer.data.batches import training_batches
from trainer.data.training_set import gather
from trainer.distributed import ALONE

READING = 0.003  # seconds by which a frame's picture tells its time


def batches(tiny, motion, *assignments):
    wanted = ("data.frames=8", "data.strides=[1,2]", "data.short_videos=repeat_last")
    settings = override(tiny, (*wanted, *assignments))
    data = gather({motion.folder: str(motion.folder)}, settings.data)
    return data.videos, training_batches(settings, data, 0, 12, ALONE, torch.device("cpu"))


@pytest.mark.parametrize("fps", [25.0, 10.0])
@pytest.mark.parametrize("streaming", ["false", "true"])
def test_uneven_videos_play_at_the_speed_of_their_label(tiny, motion, fps, streaming):
    ways = (f"data.streaming={streaming}", "data.streams=1")
    videos, found = batches(tiny, motion, f"data.fps={fps}", *ways)
    seen = set()
    for batch in found:
        for clip, number, stride in zip(batch.clips, batch.videos, batch.strides, strict=True):
            video = videos[int(number)]
            times = np.array(video.times or [i / video.fps for i in range(video.frames)])
            seconds = seconds_of(clip.numpy())
            wanted = np.minimum(seconds[0] + np.arange(8) * int(stride) / fps, times[-1])
            after = np.searchsorted(times, wanted).clip(1, video.frames - 1)
            interval = times[after] - times[after - 1]
            assert (abs(seconds - wanted) <= interval / 2 + READING).all()
            seen.add(video.name)
    assert len(seen) == 6


def test_stored_frames_are_counted_without_a_rate(tiny, motion):
    videos, found = batches(tiny, motion, "data.fps=0")
    for batch in found:
        for clip, number, stride in zip(batch.clips, batch.videos, batch.strides, strict=True):
            video = videos[int(number)]
            times = np.array(video.times or [i / video.fps for i in range(video.frames)])
            first = int(abs(times - seconds_of(clip.numpy())[0]).argmin())
            numbers = np.minimum(first + np.arange(8) * int(stride), video.frames - 1)
            assert abs(seconds_of(clip.numpy()) - times[numbers]).max() <= READING
