"""Clips of different frame sizes in one buffer, without padding to the largest size."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate, groupby

import torch

Size = tuple[int, int]  # height and width of frames, pixels


@dataclass(frozen=True)
class PackedClips:
    """N clips of T frames each in one buffer.

    Clips of one frame size are adjacent, in their order, so that they can be viewed as one tensor;
    a batch of a single size is the usual N x T x H x W x 3.

    Attributes:
        pixels: uint8, flat
        sizes: height and width of each clip's frames, in pixels
        length: T
    """

    pixels: torch.Tensor
    sizes: tuple[Size, ...]
    length: int

    @classmethod
    def of(cls, frames: torch.Tensor) -> "PackedClips":
        """Pack clips of one frame size: uint8, N x T x H x W x 3."""
        size = (frames.shape[2], frames.shape[3])
        return cls(frames.flatten(), (size,) * len(frames), frames.shape[1])

    def __len__(self) -> int:
        return len(self.sizes)

    def __iter__(self) -> Iterator[torch.Tensor]:
        return (self[number] for number in range(len(self)))

    def __getitem__(self, number: int) -> torch.Tensor:
        """A view of one clip: uint8, T x H x W x 3."""
        height, width = self.sizes[number]
        start = self._starts[number]
        clip = self.pixels[start : start + self.length * height * width * 3]
        return clip.view(self.length, height, width, 3)

    def by_size(self) -> Iterator[torch.Tensor]:
        """Views of the clips of each frame size: uint8, n x T x H x W x 3. Concatenated, they are
        in `order`."""
        for (height, width), group in groupby(self.order, key=self.sizes.__getitem__):
            numbers = list(group)
            start = self._starts[numbers[0]]
            shape = (len(numbers), self.length, height, width, 3)
            yield self.pixels[start : start + torch.Size(shape).numel()].view(shape)

    @cached_property
    def order(self) -> list[int]:
        """The numbers of the clips in the order in which the buffer holds them."""
        return sorted(range(len(self.sizes)), key=self.sizes.__getitem__)

    @cached_property
    def _starts(self) -> dict[int, int]:
        sizes = [bytes_of([self.sizes[number]], self.length) for number in self.order]
        return dict(zip(self.order, accumulate(sizes, initial=0), strict=False))

    def to(self, device: torch.device, *, non_blocking: bool = False) -> "PackedClips":
        return replace(self, pixels=self.pixels.to(device, non_blocking=non_blocking))


def bytes_of(sizes: Sequence[Size], length: int) -> int:
    """Bytes of RGB clips of `length` frames, one clip of each size."""
    return sum(length * height * width * 3 for height, width in sizes)
