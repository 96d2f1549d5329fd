"""Clips of several frame sizes in one buffer, so that a large frame costs only itself."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate, groupby

import torch

Size = tuple[int, int]  # height and width of frames, pixels


@dataclass(frozen=True)
class PackedClips:
    """N clips of T frames each, one after the other in one buffer.

    Clips of one frame size lie side by side, in their order, so that they are one tensor; a batch
    of one size is the usual N x T x H x W x 3.

    Attributes:
        pixels: uint8, flat
        sizes: height and width of each clip's frames, pixels
        length: T
    """

    pixels: torch.Tensor
    sizes: tuple[Size, ...]
    length: int

    @classmethod
    def of(cls, frames: torch.Tensor) -> "PackedClips":
        """Of frames of one size: uint8, N x T x H x W x 3."""
        size = (frames.shape[2], frames.shape[3])
        return cls(frames.flatten(), (size,) * len(frames), frames.shape[1])

    def __len__(self) -> int:
        return len(self.sizes)

    def __iter__(self) -> Iterator[torch.Tensor]:
        return (self[number] for number in range(len(self)))

    def __getitem__(self, number: int) -> torch.Tensor:
        """One clip: uint8, T x H x W x 3."""
        height, width = self.sizes[number]
        start = self._starts[number]
        clip = self.pixels[start : start + self.length * height * width * 3]
        return clip.view(self.length, height, width, 3)

    def by_size(self) -> Iterator[torch.Tensor]:
        """The clips of each frame size, uint8, n x T x H x W x 3; all of them in `order`."""
        for (height, width), group in groupby(self.order, key=self.sizes.__getitem__):
            numbers = list(group)
            start = self._starts[numbers[0]]
            shape = (len(numbers), self.length, height, width, 3)
            yield self.pixels[start : start + torch.Size(shape).numel()].view(shape)

    @cached_property
    def order(self) -> list[int]:
        """The numbers of the clips as they lie in the buffer."""
        return sorted(range(len(self.sizes)), key=self.sizes.__getitem__)

    @cached_property
    def _starts(self) -> dict[int, int]:
        sizes = [bytes_of([self.sizes[number]], self.length) for number in self.order]
        return dict(zip(self.order, accumulate(sizes, initial=0), strict=False))

    def to(self, device: torch.device, *, non_blocking: bool = False) -> "PackedClips":
        return replace(self, pixels=self.pixels.to(device, non_blocking=non_blocking))


def bytes_of(sizes: Sequence[Size], length: int) -> int:
    """Bytes of clips of `length` frames."""
    return sum(length * height * width * 3 for height, width in sizes)
