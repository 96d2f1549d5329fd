"""Clips as small pictures that play: a strip of frames in one JPEG, as a data URI."""

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
_BLOCK = 16  # pixels; frames of a strip begin at a JPEG block, so that none bleeds into the next


@dataclass(frozen=True)
class Sprite:
    """Frames side by side.

    Attributes:
        uri: data:image/jpeg;base64,...
        width: pixels of one frame
    """

    uri: str
    frames: int
    width: int
    height: int

    @property
    def share(self) -> float:
        """How much of the width of a 4:3 box a frame takes, in percent, when it fills its height
        or all of its width."""
        return min(100.0, 100 * self.width / self.height * 3 / 4)

    @property
    def rest(self) -> float:
        """CSS background position of the middle frame, in percent: what is shown at rest."""
        return 100 * (self.frames // 2) / max(1, self.frames - 1)


def frames_of(
    video: Video, first: int, last: int, count: int = 8, width: int = 160
) -> list[Image.Image]:
    """`count` frames of a video, evenly spaced in time from `first` to `last` (both included),
    each scaled to fit `width` x 3/4 `width` pixels.

    Raises BuilderError if the shard is cut or a frame is no whole JPEG, OSError if it is gone.
    """
    offsets = read_offsets(video)
    size = fitting(video.width, video.height, width)
    numbers = spread(max(0, first), min(last, video.frames - 1), count, video.times)
    return [
        open_frame(video, number, read_frames(video, offsets, [number])[0]).resize(size, _FILTER)
        for number in numbers
    ]


def sprite(frames: Sequence[Image.Image], quality: int = QUALITY) -> Sprite:
    """Frames of one size, side by side in a JPEG of this quality."""
    return Sprite(joined(frames, len(frames), quality), len(frames), *frames[0].size)


def joined(pictures: Sequence[Image.Image], columns: int, quality: int) -> str:
    """Pictures of one size in rows of `columns`, as one JPEG in a data URI."""
    width, height = pictures[0].size
    whole = Image.new("RGB", (columns * width, -(-len(pictures) // columns) * height))
    for i, picture in enumerate(pictures):
        whole.paste(picture, (i % columns * width, i // columns * height))
    content = BytesIO()
    whole.save(content, format="JPEG", quality=quality, optimize=True)
    return "data:image/jpeg;base64," + b64encode(content.getvalue()).decode("ascii")


def spread(first: int, last: int, count: int, times: Sequence[float] | None = None) -> list[int]:
    """Up to `count` different frame numbers, evenly spaced from `first` to `last`; with the `times`
    of frames `count` of them, evenly spaced in time, so that what is shown for long is so here."""
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
    """Width (a multiple of the JPEG block) and height in pixels that fit `room` x 3/4 `room`."""
    scale = min(room / width, 0.75 * room / height)
    blocks = max(1, round(scale * width / _BLOCK))
    return blocks * _BLOCK, max(1, round(scale * height))
