"""Shards as a sequence of videos, with any clip of them as a tensor: implements `open_shards`."""

from collections.abc import Iterator
from functools import cached_property
from numbers import Integral
from typing import overload

import numpy as np
import torch

from builder.command_line import quoted
from builder.counted import counted
from builder.errors import BuilderError
from builder.printable import printable
from builder.shards.dataset import ShardDataset, Video, read_frames, read_offsets
from trainer.data.clip_policy import POLICIES, Place, clip_frames
from trainer.data.jpeg_decoding import decode_clips


class NoSuchVideoError(BuilderError, IndexError):
    """There is no video with this position or name."""


class Shards(ShardDataset):
    """A built data set: a sequence of `builder.shards.dataset.Video` in the order of the source,
    with everything that `ShardDataset` offers (name, classes, counts, splits(), subset(split,
    part), rows()).

    It may be used from several threads.
    """

    def __len__(self) -> int:
        """Number of built videos."""
        return len(self.videos)

    def __repr__(self) -> str:
        return f"<Shards {self.folder}: {counted(len(self), 'video')}>"

    def __iter__(self) -> Iterator[Video]:
        return iter(self.videos)

    @overload
    def __getitem__(self, video: int | str) -> Video: ...

    @overload
    def __getitem__(self, video: slice) -> tuple[Video, ...]: ...

    def __getitem__(self, video: int | str | slice) -> Video | tuple[Video, ...]:
        """A video by its position, as in a list (-1 is the last), or by its name; for a slice, such
        as [1:3], a tuple of videos. Raises NoSuchVideoError, which is a BuilderError and an
        IndexError, if there is none."""
        if isinstance(video, slice):
            return self.videos[video]
        if isinstance(video, str):
            if video not in self._positions:
                raise NoSuchVideoError(
                    f"{self.folder} has no built video {printable(video)!r}. "
                    f"{_example(self.videos)}"
                )
            return self.videos[self._positions[video]]
        if not -len(self) <= video < len(self):
            raise NoSuchVideoError(
                f"There is no video {video}: {self.folder} has {len(self)}, numbered from 0."
            )
        return self.videos[video]

    def clip(
        self,
        video: Video | int | str,
        start: int = 0,
        frames: int = 16,
        stride: int = 1,
        short_videos: str = "loop",
    ) -> torch.Tensor:
        """Read the frames start, start + stride, ... of a video: uint8, T x H x W x 3, RGB, where T
        is `frames` and H x W is the stored size in pixels.

        `video` is one of these videos, or its position or name. `start` and `stride` count stored
        frames, even if these are unevenly spaced in time (`video.times`). `short_videos` decides
        what happens after the last frame: "loop" continues from the start, "repeat_last" repeats
        the last frame, "error" raises BuilderError. Raises NoSuchVideoError for an unknown video,
        BuilderError for invalid numbers or a shard that is missing or truncated, and TrainerError
        for a frame that is not a valid JPEG.
        """
        chosen = video if isinstance(video, Video) else self[video]
        _check(chosen, start, frames, stride, short_videos)
        last = start + (frames - 1) * stride
        if short_videos == "error" and last >= chosen.frames:
            raise BuilderError(
                f"A clip of {frames} frames at stride {stride} from frame {start} on needs frame "
                f"{last}, and {printable(chosen.name)} has {chosen.frames}. Start earlier, use "
                'fewer frames, or pass short_videos="loop" or "repeat_last".'
            )
        numbers = clip_frames(start, Place(frames, stride, chosen.frames), short_videos)
        clip = np.empty((frames, chosen.height, chosen.width, 3), np.uint8)
        try:
            jpegs = read_frames(chosen, read_offsets(chosen), numbers)
        except OSError as error:
            raise BuilderError(
                f"{chosen.shard}, which contains {printable(chosen.name)}, cannot be read "
                f"({error.strerror or error}). Copy it back; `ascnet verify {quoted(self.folder)}` "
                "lists everything that is missing."
            ) from error
        decode_clips(dict(zip(numbers, jpegs, strict=True)), [numbers], chosen, [clip])
        return torch.from_numpy(clip)

    @cached_property
    def _positions(self) -> dict[str, int]:
        return {video.name: position for position, video in enumerate(self.videos)}


def _check(video: Video, start: int, frames: int, stride: int, short_videos: str) -> None:
    if not isinstance(start, Integral) or not 0 <= start < video.frames:
        raise BuilderError(
            f"start is {start}; it takes a frame number, and {printable(video.name)} has the "
            f"frames 0 to {video.frames - 1}."
        )
    for name, number in (("frames", frames), ("stride", stride)):
        if not isinstance(number, Integral) or number < 1:
            raise BuilderError(f"{name} is {number}; it takes a whole number, 1 or more.")
    if short_videos not in POLICIES:
        raise BuilderError(
            f"short_videos is {short_videos!r}; it takes {', '.join(map(repr, POLICIES))}."
        )


def _example(videos: tuple[Video, ...]) -> str:
    return f"An example of a name is {printable(videos[0].name)!r}." if videos else "It has none."
