"""The clip pipeline of a typical training script on top of webdataset or LitData: draw two clips of
a video, decode, crop and resize their frames, and normalise the batch.

Pillow decodes each frame once, even if both clips contain it, and torch resizes. This file imports
nothing of ascnet, as LitData runs in an environment of its own.
"""

import io
import random
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

LENGTH, STRIDES, SIZE = 16, (1, 2), 112  # frames per clip, the strides of the two clips, pixels
BATCH, WORKERS = 16, 2  # videos, processes
_MEAN, _STD = (0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)  # ascnet's


class TwoClips(NamedTuple):
    """Two clips of a video, or of each of B videos; then all shapes have a leading dimension B.

    Attributes:
        pixels: uint8, 2 x T x S x S x 3
        video: number of the video
        frames: int64, 2 x T: numbers of the frames
    """

    pixels: torch.Tensor
    video: int | torch.Tensor
    frames: torch.Tensor


class Batch(NamedTuple):
    """A batch of two clips of each of B videos.

    Attributes:
        clips: float32, 2B x 3 x T x S x S, normalised: the first clips of all videos, then the
            second ones
        videos: int64, B: numbers of the videos
        frames: int64, B x 2 x T: numbers of the frames
    """

    clips: torch.Tensor
    videos: torch.Tensor
    frames: torch.Tensor


def draw_frames(count: int) -> torch.Tensor:
    """Draw two random clips of a video of `count` frames, which is looped if it is too short;
    return their frame numbers (int64, 2 x T)."""
    clips = []
    for stride in random.sample(STRIDES, 2):
        start = random.randrange(max(1, count - (LENGTH - 1) * stride))
        clips.append((start + stride * torch.arange(LENGTH)) % count)
    return torch.stack(clips)


def decode(jpeg: bytes) -> np.ndarray:
    """Decode a JPEG to uint8, H x W x 3."""
    return np.asarray(Image.open(io.BytesIO(jpeg)))


def cut(video: int, count: int, picture: Callable[[int], np.ndarray]) -> TwoClips:
    """Draw two clips of a video of `count` frames and decode them. `picture` maps a frame number to
    its pixels: uint8, H x W x 3."""
    frames = draw_frames(count)
    numbers, positions = frames.unique(return_inverse=True)
    pictures = np.stack([picture(number) for number in numbers.tolist()])
    return TwoClips(_squares(torch.from_numpy(pictures))[positions], video, frames)


def _squares(frames: torch.Tensor) -> torch.Tensor:
    """Centre-crop frames to squares and resize them: uint8, N x H x W x 3 to N x S x S x 3."""
    height, width = frames.shape[1:3]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    squares = frames[:, top : top + side, left : left + side].permute(0, 3, 1, 2)
    small = torch.nn.functional.interpolate(squares, (SIZE, SIZE), mode="bilinear", antialias=True)
    return small.permute(0, 2, 3, 1)


def normalised(batches: Iterable[TwoClips]) -> Iterator[Batch]:
    """Convert batches to normalised floats, in the training process, so that uint8 is passed
    between processes."""
    mean, std = torch.tensor(_MEAN), torch.tensor(_STD)
    for pixels, videos, frames in batches:
        clips = pixels.transpose(0, 1).flatten(0, 1).permute(0, 4, 1, 2, 3)
        scaled = clips.float() / 255
        scaled -= mean[:, None, None, None]
        scaled /= std[:, None, None, None]
        yield Batch(scaled.contiguous(), torch.as_tensor(videos), frames)
