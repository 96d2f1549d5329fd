"""What a training script of one's own does with a sample that webdataset or LitData has read: two
clips of a video are drawn, their frames decoded, cropped and resized, and batches normalised.

Pillow decodes, once what both clips show, and torch resizes. Only what a Python without ascnet has
is imported, as LitData has one of its own.
"""

import io
import random
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

LENGTH, STRIDES, SIZE = 16, (1, 2), 112  # frames of a clip, one stride each, pixels
BATCH, WORKERS = 16, 2  # videos, processes
_MEAN, _STD = (0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)  # ascnet's


class TwoClips(NamedTuple):
    """Of one video, or of a batch of B; then all have another first dimension, B.

    Attributes:
        pixels: uint8, 2 x T x S x S x 3
        video: its number
        frames: int64, 2 x T: their numbers
    """

    pixels: torch.Tensor
    video: int | torch.Tensor
    frames: torch.Tensor


class Batch(NamedTuple):
    """Of B videos.

    Attributes:
        clips: float32, 2B x 3 x T x S x S, normalised: the first clip of each video, then the
            second of each
        videos: int64, B
        frames: int64, B x 2 x T
    """

    clips: torch.Tensor
    videos: torch.Tensor
    frames: torch.Tensor


def draw_frames(count: int) -> torch.Tensor:
    """Of two clips at random of a video of `count` frames, which begins anew where it is too short
    (int64, 2 x T)."""
    clips = []
    for stride in random.sample(STRIDES, 2):
        start = random.randrange(max(1, count - (LENGTH - 1) * stride))
        clips.append((start + stride * torch.arange(LENGTH)) % count)
    return torch.stack(clips)


def decode(jpeg: bytes) -> np.ndarray:
    """uint8, H x W x 3."""
    return np.asarray(Image.open(io.BytesIO(jpeg)))


def cut(video: int, count: int, picture: Callable[[int], np.ndarray]) -> TwoClips:
    """Two clips of a video of `count` frames. `picture` gives a frame: uint8, H x W x 3."""
    frames = draw_frames(count)
    numbers, positions = frames.unique(return_inverse=True)
    pictures = np.stack([picture(number) for number in numbers.tolist()])
    return TwoClips(_squares(torch.from_numpy(pictures))[positions], video, frames)


def _squares(frames: torch.Tensor) -> torch.Tensor:
    """The middle squares of frames, resized: uint8, N x H x W x 3 to N x S x S x 3."""
    height, width = frames.shape[1:3]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    squares = frames[:, top : top + side, left : left + side].permute(0, 3, 1, 2)
    small = torch.nn.functional.interpolate(squares, (SIZE, SIZE), mode="bilinear", antialias=True)
    return small.permute(0, 2, 3, 1)


def normalised(batches: Iterable[TwoClips]) -> Iterator[Batch]:
    """In the training process: what passes between processes is uint8."""
    mean, std = torch.tensor(_MEAN), torch.tensor(_STD)
    for pixels, videos, frames in batches:
        clips = pixels.transpose(0, 1).flatten(0, 1).permute(0, 4, 1, 2, 3)
        scaled = clips.float() / 255
        scaled -= mean[:, None, None, None]
        scaled /= std[:, None, None, None]
        yield Batch(scaled.contiguous(), torch.as_tensor(videos), frames)
