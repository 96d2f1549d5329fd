"""Clips as small playing pictures: a strip of frames in one JPEG, as a data URI."""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from PIL import Image

from builder.shards.dataset import Video, read_frames, read_offsets
from builder.shards.jpeg import open_frame

QUALITY = 55
_FILTER = Image.Resampling.BILINEAR
_BLOCK = 16  # pixels; frames begin at JPEG blocks, so that they do not bleed into each other


@dataclass(frozen=True)
class Sprite:
    """Frames side by side in one JPEG.

    Attributes:
        uri: data:image/jpeg;base64,...
        frames: number of frames
        width: width of one frame in pixels
        height: height of one frame in pixels
    """

    uri: str
    frames: int
    width: int
    height: int

    @property
    def share(self) -> float:
        """Percentage of the width of a 4:3 box that a frame takes when it fills the box's height,
        or its width if it is wider."""
        return min(100.0, 100 * self.width / self.height * 3 / 4)

    @property
    def rest(self) -> float:
        """CSS background position, in percent, of the middle frame, which is shown when the clip
        does not play."""
        return 100 * (self.frames // 2) / max(1, self.frames - 1)


def frames_of(
    video: Video, first: int, last: int, count: int = 8, width: int = 160
) -> list[Image.Image]:
    """Read `count` frames of a video, evenly spaced in time from `first` to `last` (inclusive),
    each scaled to fit `width` x 3/4 `width` pixels.

    Raises BuilderError if the shard is truncated or a frame is not a valid JPEG, and OSError if the
    shard is missing.
    """
    offsets = read_offsets(video)
    size = fitting(video.width, video.height, width)
    numbers = spread(max(0, first), min(last, video.frames - 1), count, video.times)
    return [
        open_frame(video, number, read_frames(video, offsets, [number])[0]).resize(size, _FILTER)
        for number in numbers
    ]


def sprite(frames: Sequence[Image.Image], quality: int = QUALITY) -> Sprite:
    """Put frames of one size side by side in a JPEG of this quality."""
    return Sprite(joined(frames, len(frames), quality), len(frames), *frames[0].size)


def joined(pictures: Sequence[Image.Image], columns: int, quality: int) -> str:
    """Put pictures of one size into rows of `columns`, as one JPEG in a data URI."""
    width, height = pictures[0].size
    whole = Image.new("RGB", (columns * width, -(-len(pictures) // columns) * height))
    for i, picture in enumerate(pictures):
        whole.paste(picture, (i % columns * width, i // columns * height))
    content = BytesIO()
    whole.save(content, format="JPEG", quality=quality, optimize=True)
    return "data:image/jpeg;base64," + b64encode(content.getvalue()).decode("ascii")


def spread(first: int, last: int, count: int, times: Sequence[float] | None = None) -> list[int]:
    """Up to `count` different frame numbers, evenly spaced from `first` to `last`. If the `times`
    of the frames are given, they are evenly spaced in time, and frames shown for long may
    repeat."""
    there = last - first + 1
    if times and min(there, count) > 1:
        shown_at = np.asarray(times[first : last + 1])
        moments = np.linspace(shown_at[0], shown_at[-1], count)
        numbers = first + np.searchsorted((shown_at[1:] + shown_at[:-1]) / 2, moments, side="right")
        return [int(number) for number in numbers]
    if there <= count:
        return list(range(first, last + 1))
    if count == 1:
        return [(first + last) // 2]
    return [first + round(i * (there - 1) / (count - 1)) for i in range(count)]


def fitting(width: int, height: int, room: int) -> tuple[int, int]:
    """Width (a multiple of the JPEG block) and height, in pixels, that fit `room` x 3/4 `room`."""
    scale = min(room / width, 0.75 * room / height)
    blocks = max(1, round(scale * width / _BLOCK))
    return blocks * _BLOCK, max(1, round(scale * height))
