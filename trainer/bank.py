"""The memory bank: embeddings of recent clips, to find "another video" in."""

from typing import Literal

import torch
from torch import nn

Strides = Literal["own", "other", "any"]  # of a clip's neighbours


class MemoryBank(nn.Module):
    """A ring of the latest `size` clips. Its content is part of the checkpoint."""

    appearance: torch.Tensor  # float32, size x dim, L2-normalised
    speed: torch.Tensor  # float32, size x dim, L2-normalised
    stride: torch.Tensor  # int64, size; 0: empty
    video: torch.Tensor  # int64, size
    group: torch.Tensor  # int64, size
    head: torch.Tensor  # int64, scalar: where the next clip goes

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("appearance", torch.zeros(size, dim))
        self.register_buffer("speed", torch.zeros(size, dim))
        for name in ("stride", "video", "group"):
            self.register_buffer(name, torch.zeros(size, dtype=torch.int64))
        self.register_buffer("head", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def append(
        self,
        appearance: torch.Tensor,
        speed: torch.Tensor,
        stride: torch.Tensor,
        video: torch.Tensor,
        group: torch.Tensor,
    ) -> None:
        """Put N clips in; the oldest go. Of more clips than there is room, the last stay."""
        size = len(self.stride)
        count = min(len(stride), size)
        places = (self.head + torch.arange(count, device=self.head.device)) % size
        for ring, values in (
            (self.appearance, appearance),
            (self.speed, speed),
            (self.stride, stride),
            (self.video, video),
            (self.group, group),
        ):
            ring[places] = values[-count:].to(ring.dtype)
        self.head.add_(count).remainder_(size)

    def similarity(self, appearance: torch.Tensor) -> torch.Tensor:
        """Cosine of each of N clips with every entry, by appearance: float32, N x size."""
        return appearance @ self.appearance.mT

    @torch.no_grad()
    def neighbours(
        self,
        scores: torch.Tensor,
        stride: torch.Tensor,
        video: torch.Tensor,
        group: torch.Tensor,
        k: int,
        exclude_siblings: bool = True,
        strides: Strides = "own",
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """For each of N clips the k entries that `scores` (float32, N x size) puts highest, of
        another video, and of another group too if siblings are excluded; of the clip's `own`
        stride, of any `other` one, or of `any`. Empty places never count.

        Returns int64 N x k places and bool N x k: whether there is such an entry at all.
        """
        allowed = (self.stride > 0) & (self.video != video[:, None])
        if strides != "any":
            allowed &= (self.stride == stride[:, None]) == (strides == "own")
        if exclude_siblings:
            allowed &= self.group != group[:, None]
        best, places = scores.masked_fill(~allowed, -torch.inf).topk(min(k, scores.shape[1]), dim=1)
        return places, best > -torch.inf

    def age(self, places: torch.Tensor) -> torch.Tensor:
        """How many clips were put in after each of the entries at `places`: int64, same shape."""
        return (self.head - 1 - places) % len(self.stride)

    def latest(self, count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Appearance, speed and stride of the last `count` clips, fewer if there are not so many
        yet."""
        size = len(self.stride)
        places = (self.head - 1 - torch.arange(min(count, size), device=self.head.device)) % size
        places = places[self.stride[places] > 0]
        return self.appearance[places], self.speed[places], self.stride[places]
