"""What peers are made of: interface, moving average, queue of keys, contrastive loss."""

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

_QUEUE = 512  # keys; less than an epoch of a small data set, or most clips meet themselves in it


@dataclass(frozen=True)
class Batch:
    """What an objective gets in a step: two clips of each of B videos."""

    clips: torch.Tensor
    """float32 2B x 3 x T x H x W, the first clips of the videos, then the second ones."""
    classes: torch.Tensor
    """int64 2B."""
    labels: ClipLabels
    share: float
    """Of the steps that are taken, 0 to 1."""


class Peer(nn.Module):
    """An objective with its backbone."""

    long_clips = False  # whether clips have twice the frames, all at the lowest stride
    loss: Callable[[Batch], torch.Tensor]
    correlated: torch.Tensor  # of the latest features

    def __init__(self, settings: Config) -> None:
        super().__init__()
        self.settings = settings
        self.backbone = make_backbone(settings.model.backbone)  # first: as ASCNet draws it

    def features(self, clips: torch.Tensor) -> torch.Tensor:
        """N x channels; `correlated` is what the recipe's `decorrelation` weighs of them."""
        features = pooled(self.backbone, clips)
        self.correlated = correlation(features)
        return features

    def after_step(self, momentum: float) -> None:
        """What follows the optimiser: moving averages."""


class Average(nn.Module):
    """A moving average of a backbone and of heads on it, without gradient."""

    def __init__(self, backbone: nn.Module, *heads: nn.Module) -> None:
        super().__init__()
        self.backbone = copy.deepcopy(backbone).requires_grad_(False)
        self.heads = nn.ModuleList(copy.deepcopy(head).requires_grad_(False) for head in heads)

    @torch.no_grad()
    def forward(self, clips: torch.Tensor) -> list[torch.Tensor]:
        """N x dim, of every head."""
        features = pooled(self.backbone, clips)
        return [head(features) for head in self.heads]

    @torch.no_grad()
    def update(self, momentum: float, *latest: nn.Module) -> None:
        """average = momentum * average + (1 - momentum) * latest, batch-norm statistics copied."""
        for average, module in zip((self.backbone, *self.heads), latest, strict=True):
            for mean, weight in zip(average.parameters(), module.parameters(), strict=True):
                mean.lerp_(weight, 1 - momentum)
            for buffer, value in zip(average.buffers(), module.buffers(), strict=True):
                buffer.copy_(value)


class Queue(nn.Module):
    """The latest keys, float32, _QUEUE x dim, L2-normalised; random ones at the start."""

    keys: torch.Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("keys", normalize(torch.randn(_QUEUE, dim), dim=1))

    def append(self, keys: torch.Tensor) -> None:
        self.keys = torch.cat([self.keys, keys])[-_QUEUE:]


def pooled(backbone: nn.Module, clips: torch.Tensor) -> torch.Tensor:
    """N x channels: the map averaged over time and space."""
    features: torch.Tensor = backbone(clips)
    return features.mean(dim=(2, 3, 4))


def swapped(rows: torch.Tensor) -> torch.Tensor:
    """2B rows, the two halves changed about: for each clip the other clip of its video."""
    return torch.cat(rows.chunk(2)[::-1])


def at_speed(clips: torch.Tensor, fast: torch.Tensor) -> torch.Tensor:
    """N x 3 x 2T x H x W at 1x to N x 3 x T x H x W: the first T frames, or where `fast` (bool, N)
    every second."""
    slow = clips[:, :, : clips.shape[2] // 2]
    return torch.where(fast[:, None, None, None, None], clips[:, :, ::2], slow)


def contrast(
    queries: torch.Tensor, keys: torch.Tensor, others: torch.Tensor, temperature: float
) -> torch.Tensor:
    """InfoNCE: each query is told its key from `others`, all L2-normalised."""
    right = (queries * keys).sum(1, keepdim=True)
    logits = torch.cat([right, queries @ others.T], dim=1) / temperature
    first = torch.zeros(len(queries), dtype=torch.int64, device=queries.device)
    return cross_entropy(logits, first)
