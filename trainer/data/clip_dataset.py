"""Clips as a map-style data set, for torch's DataLoader with worker processes."""

import os
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from trainer.data.augment import augment, draw_numbers, square_crop
from trainer.data.clip_batches import CROPPED, FRAMES, ClipSettings
from trainer.data.clip_reader import ClipReader
from trainer.data.clip_sampler import Pairs, draw_some
from trainer.data.packed_clips import PackedClips
from trainer.data.training_set import TrainingSet

_DRAWS = 2**31


class ClipDataset(Dataset[tuple[torch.Tensor, int]]):
    """Item i is a random clip of training video i and its label (-1 for none). The clip is float32,
    3 x T x S x S, as in `LoadedClips`; for output "frames" uint8, T x H x W x 3.

    Start, stride and augmentation are drawn from torch's global generator, which a DataLoader seeds
    in each of its workers. The settings `clips`, `batch`, `seed` and `workers` are ignored.
    """

    def __init__(self, data: TrainingSet, settings: ClipSettings) -> None:
        self.videos, self.settings = data.videos, settings
        self._data = data
        self._reader: tuple[int, ClipReader] | None = None

    def __len__(self) -> int:
        return len(self.videos)

    def __getitem__(self, number: int) -> tuple[torch.Tensor, int]:
        if not -len(self) <= number < len(self):
            raise IndexError(f"There is no video {number}; there are {len(self)}.")
        settings, number = self.settings, number % len(self)
        draw = int(torch.randint(_DRAWS, ()))
        pairs = Pairs(settings.frames, settings.strides, False, settings.short_videos, 0)
        (request,) = draw_some(1, draw, number, self._data.timings[number], pairs)
        reader = self._own_reader()
        frames = np.empty((settings.frames, *reader.size(request), 3), np.uint8)
        reader.read([request], [frames])
        return self._made(torch.from_numpy(frames)), self._data.labels[number]

    def _made(self, frames: torch.Tensor) -> torch.Tensor:
        settings = self.settings
        if settings.output == FRAMES:
            return frames
        clips = PackedClips.of(frames[None])
        if settings.output == CROPPED:
            return square_crop(clips, settings.size)[0]
        numbers = draw_numbers(1, torch.default_generator)
        return augment(clips, settings.augment, settings.size, numbers)[0]

    def _own_reader(self) -> ClipReader:
        """This process's reader; a forked process must not share open files with its parent."""
        if self._reader is None or self._reader[0] != os.getpid():
            self._reader = os.getpid(), ClipReader(self.videos, self.settings.short_side)
        return self._reader[1]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_reader": None}
