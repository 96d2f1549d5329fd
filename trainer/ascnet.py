"""The method on one page: ASCNet (Huang et al., ICCV 2021, arXiv 2106.02342).

One encoder maps a clip into an appearance space and a speed space. There are no negatives:

ACP  two clips of the same video at different speeds agree in appearance.
SCP  two clips of different videos at the same speed agree in speed. The other video is the one in
     the memory bank that is nearest in appearance.

Each agreement is || p - z ||^2 of L2-normalised vectors, p predicted from the online encoder, z
from the target, through which no gradient flows. The target is a moving average of the online
encoder (momentum > 0) or the online encoder itself (momentum = 0).
"""

import copy
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.functional import normalize

from trainer.backbones import make_backbone
from trainer.bank import MemoryBank
from trainer.config import Model, Objective


@dataclass(frozen=True)
class Embeddings:
    """N clips in both spaces: float32, N x dim each, L2-normalised."""

    appearance: torch.Tensor
    speed: torch.Tensor


@dataclass(frozen=True)
class Losses:
    """What one batch costs, and what the monitor wants to know of it."""

    total: torch.Tensor
    appearance: torch.Tensor  # ACP, 0 .. 4
    speed: torch.Tensor  # SCP, 0 .. 4; 0 as long as no clip has a neighbour
    with_neighbour: torch.Tensor  # share of clips that found another video
    target: Embeddings


def mlp(inside: int, hidden: int, outside: int) -> nn.Sequential:
    """Two layers with batch norm between (BYOL; without it accuracy falls by half, see
    Feichtenhofer et al. 2021)."""
    return nn.Sequential(
        nn.Linear(inside, hidden, bias=False),
        nn.BatchNorm1d(hidden),
        nn.ReLU(inplace=True),
        nn.Linear(hidden, outside),
    )


class Encoder(nn.Module):
    """Backbone, global average pooling, and a projector for each space."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.backbone = make_backbone(model.backbone)
        self.appearance = mlp(self.backbone.channels, model.hidden, model.dim)
        self.speed = mlp(self.backbone.channels, model.hidden, model.dim)

    def forward(self, clips: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """float32 N x 3 x T x H x W to N x dim in appearance and N x dim in speed."""
        features = self.backbone(clips).mean(dim=(2, 3, 4))
        return self.appearance(features), self.speed(features)


def distance(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """|| p - z ||^2 = 2 - 2 cos(p, z) of each pair of rows, the rows L2-normalised first."""
    return 2 - 2 * (normalize(prediction, dim=-1) * normalize(target, dim=-1)).sum(-1)


class ASCNet(nn.Module):
    def __init__(self, model: Model, objective: Objective) -> None:
        super().__init__()
        self.objective = objective
        self.encoder = Encoder(model)
        self.predict_appearance = mlp(model.dim, model.hidden, model.dim)
        self.predict_speed = mlp(model.dim, model.hidden, model.dim)
        self.target: Encoder | None = None
        if objective.momentum > 0:
            self.target = copy.deepcopy(self.encoder).requires_grad_(False)
        self.bank = MemoryBank(objective.bank, model.dim)

    def forward(
        self,
        clips: torch.Tensor,
        stride: torch.Tensor,
        video: torch.Tensor,
        group: torch.Tensor,
        with_speed: bool = True,
    ) -> Losses:
        """`clips`: float32 2B x 3 x T x H x W, the first clips of B videos, then the second ones.
        `stride`, `video`, `group`: int64 2B. `with_speed`: False leaves SCP out (warm-up)."""
        appearance, speed = self.encoder(clips)
        target = self._target(clips, appearance, speed)

        first, second = target.appearance.chunk(2)
        other_clip = torch.cat([second, first])
        acp = distance(self.predict_appearance(appearance), other_clip).mean()

        settings = self.objective
        places, found = self.bank.nearest(
            target.appearance,
            stride,
            video,
            group,
            settings.neighbours,
            settings.exclude_siblings,
        )
        predicted = self.predict_speed(speed)
        scp = distance(predicted[:, None], self.bank.speed[places])
        scp = (scp * found).sum() / found.sum().clamp(min=1)

        weight = settings.speed_weight if with_speed else 0.0
        self.bank.append(target.appearance, target.speed, stride, video, group)
        return Losses(
            total=settings.appearance_weight * acp + weight * scp,
            appearance=acp.detach(),
            speed=scp.detach(),
            with_neighbour=found.any(1).float().mean(),
            target=target,
        )

    @torch.no_grad()
    def _target(
        self, clips: torch.Tensor, appearance: torch.Tensor, speed: torch.Tensor
    ) -> Embeddings:
        if self.target is not None:
            appearance, speed = self.target(clips)
        return Embeddings(normalize(appearance, dim=1), normalize(speed, dim=1))

    @torch.no_grad()
    def update_target(self, momentum: float) -> None:
        """target = momentum * target + (1 - momentum) * encoder, batch-norm statistics copied."""
        if self.target is None:
            return
        for old, new in zip(self.target.parameters(), self.encoder.parameters(), strict=True):
            old.lerp_(new, 1 - momentum)
        for kept, latest in zip(self.target.buffers(), self.encoder.buffers(), strict=True):
            kept.copy_(latest)
