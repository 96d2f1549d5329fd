"""Parts of the peers: interface, moving average, queue of keys, contrastive loss."""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.functional import cross_entropy, normalize

from trainer.backbones.all_backbones import make_backbone
from trainer.config.settings import Config
from trainer.method.decorrelation import correlation
from trainer.method.memory_bank import ClipLabels

_QUEUE = 512  # keys; less than an epoch of a small data set, or most clips would find themselves


@dataclass(frozen=True)
class Batch:
    """The input of an objective in a step: two clips of each of B videos.

    Attributes:
        clips: float32, 2B x 3 x T x H x W: the first clips of the videos, then the second ones
        classes: int64, 2B
        share: fraction of the training's steps that are done, 0 to 1
    """

    clips: torch.Tensor
    classes: torch.Tensor
    labels: ClipLabels
    share: float


class Peer(nn.Module):
    """A training objective with its backbone."""

    long_clips = False  # whether clips have twice the frames, all at the lowest stride
    loss: Callable[[Batch], torch.Tensor]
    correlated: torch.Tensor  # channel correlation of the latest features

    def __init__(self, settings: Config) -> None:
        super().__init__()
        self.settings = settings
        self.backbone = make_backbone(settings.model.backbone)  # first: same weights as in ASCNet

    def features(self, clips: torch.Tensor) -> torch.Tensor:
        """The pooled features of clips, N x channels. Sets `correlated`, which is penalised if the
        recipe sets `decorrelation`."""
        features = pooled(self.backbone, clips)
        self.correlated = correlation(features)
        return features

    def after_step(self, momentum: float) -> None:
        """Called after the optimiser's step, to update moving averages."""


class Average(nn.Module):
    """A moving average of a backbone and its heads, without gradient."""

    def __init__(self, backbone: nn.Module, *heads: nn.Module) -> None:
        super().__init__()
        self.backbone = copy.deepcopy(backbone).requires_grad_(False)
        self.heads = nn.ModuleList(copy.deepcopy(head).requires_grad_(False) for head in heads)

    @torch.no_grad()
    def forward(self, clips: torch.Tensor) -> list[torch.Tensor]:
        """The output of every head, N x dim each."""
        features = pooled(self.backbone, clips)
        return [head(features) for head in self.heads]

    @torch.no_grad()
    def update(self, momentum: float, *latest: nn.Module) -> None:
        """average = momentum * average + (1 - momentum) * latest; batch norm's running statistics
        are copied. `latest`: the backbone and the heads."""
        for average, module in zip((self.backbone, *self.heads), latest, strict=True):
            for mean, weight in zip(average.parameters(), module.parameters(), strict=True):
                mean.lerp_(weight, 1 - momentum)
            for buffer, value in zip(average.buffers(), module.buffers(), strict=True):
                buffer.copy_(value)


class Queue(nn.Module):
    """The latest keys: float32, _QUEUE x dim, L2-normalised; random at the start."""

    keys: torch.Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("keys", normalize(torch.randn(_QUEUE, dim), dim=1))

    def append(self, keys: torch.Tensor) -> None:
        self.keys = torch.cat([self.keys, keys])[-_QUEUE:]


def pooled(backbone: nn.Module, clips: torch.Tensor) -> torch.Tensor:
    """The backbone's feature map averaged over time and space: N x channels."""
    features: torch.Tensor = backbone(clips)
    return features.mean(dim=(2, 3, 4))


def swapped(rows: torch.Tensor) -> torch.Tensor:
    """Swap the two halves of 2B rows: for each clip, the row of the other clip of its video."""
    return torch.cat(rows.chunk(2)[::-1])


def at_speed(clips: torch.Tensor, fast: torch.Tensor) -> torch.Tensor:
    """Clips at 1x (N x 3 x 2T x H x W) to N x 3 x T x H x W: their first T frames, or where `fast`
    (bool, N) every second frame."""
    slow = clips[:, :, : clips.shape[2] // 2]
    return torch.where(fast[:, None, None, None, None], clips[:, :, ::2], slow)


def contrast(
    queries: torch.Tensor, keys: torch.Tensor, others: torch.Tensor, temperature: float
) -> torch.Tensor:
    """InfoNCE loss of queries and their keys (N x dim each) against `others` (M x dim); all rows
    are L2-normalised."""
    right = (queries * keys).sum(1, keepdim=True)
    logits = torch.cat([right, queries @ others.T], dim=1) / temperature
    first = torch.zeros(len(queries), dtype=torch.int64, device=queries.device)
    return cross_entropy(logits, first)
