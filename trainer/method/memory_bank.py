"""The memory bank: embeddings of recent clips, in which SCP finds its "other video"."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

Speed = Literal["same", "other", "any"]  # speed of a clip's neighbours relative to its own


@dataclass(frozen=True)
class ClipLabels:
    """What is known of N clips without annotation, so no class labels: int64, N each.

    Attributes:
        stride: frame stride, that is, playback speed; 1 or more
        group: the source recording; with `exclude_siblings`, clips of one group are never
            neighbours
    """

    stride: torch.Tensor
    video: torch.Tensor
    group: torch.Tensor


class MemoryBank(nn.Module):
    """A ring buffer of the latest `size` clips. Its contents are part of the checkpoint."""

    appearance: torch.Tensor  # float32, size x dim, L2-normalised
    speed: torch.Tensor  # float32, size x dim, L2-normalised
    stride: torch.Tensor  # int64, size; 0: empty
    video: torch.Tensor  # int64, size
    group: torch.Tensor  # int64, size
    head: torch.Tensor  # int64, scalar: the slot that the next clip takes

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("appearance", torch.zeros(size, dim))
        self.register_buffer("speed", torch.zeros(size, dim))
        for name in ("stride", "video", "group"):
            self.register_buffer(name, torch.zeros(size, dtype=torch.int64))
        self.register_buffer("head", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def append(self, appearance: torch.Tensor, speed: torch.Tensor, labels: ClipLabels) -> None:
        """Add N clips, overwriting the oldest. If N exceeds `size`, the last `size` are kept."""
        size = len(self.stride)
        count = min(len(labels.stride), size)
        slots = (self.head + torch.arange(count, device=self.head.device)) % size
        for ring, values in (
            (self.appearance, appearance),
            (self.speed, speed),
            (self.stride, labels.stride),
            (self.video, labels.video),
            (self.group, labels.group),
        ):
            ring[slots] = values[-count:].to(ring.dtype)
        self.head.add_(count).remainder_(size)

    @torch.no_grad()
    def similarity(self, appearance: torch.Tensor) -> torch.Tensor:
        """Cosine similarity in appearance of N clips with every entry: float32, N x size."""
        return appearance @ self.appearance.mT

    @torch.no_grad()
    def nearest(
        self,
        similarity: torch.Tensor,
        labels: ClipLabels,
        k: int,
        speed: Speed,
        exclude_siblings: bool = True,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Find the k entries of highest `similarity` (float32, N x size) for each of N clips, among
        those of another video, of another group if siblings are excluded, and of the clip's own
        stride ("same"), another stride ("other") or "any" stride. Empty slots are never returned.

        Returns their slots (int64, N x k), and whether each exists (bool, N x k).
        """
        allowed = (self.stride > 0) & (self.video != labels.video[:, None])
        if speed != "any":
            allowed &= (self.stride == labels.stride[:, None]) == (speed == "same")
        if exclude_siblings:
            allowed &= self.group != labels.group[:, None]
        masked = similarity.masked_fill(~allowed, -torch.inf)
        best, slots = masked.topk(min(k, masked.shape[1]), dim=1)
        return slots, best > -torch.inf

    def age(self, slots: torch.Tensor) -> torch.Tensor:
        """Number of clips added after each of these entries: int64, same shape."""
        return (self.head - 1 - slots) % len(self.stride)

    def latest(self, count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Appearance and speed embeddings and strides of the latest `count` clips, newest first; of
        all clips if there are fewer."""
        size = len(self.stride)
        slots = (self.head - 1 - torch.arange(min(count, size), device=self.head.device)) % size
        slots = slots[self.stride[slots] > 0]
        return self.appearance[slots], self.speed[slots], self.stride[slots]
