"""The method on one page: ASCNet (Huang et al., ICCV 2021, arXiv 2106.02342).

One encoder maps a clip into an appearance space and a speed space. Pairs are positive:

ACP  two clips of the same video at different speeds agree in appearance.
SCP  two clips of different videos at the same speed agree in speed. The other video is the one in
     the memory bank that is nearest in appearance.

What two videos that look alike share is their look, more than their speed, and that is what SCP
finds first. So it can be asked for the difference that speed makes (`speed_target = "direction"`,
ours): from the nearest in appearance at other speeds to the nearest at the clip's own. That pushes
a clip away from the mean of those at other speeds, which the paper does not.

Each agreement is || p - z ||^2 of L2-normalised vectors, p predicted from the online encoder, z
from the target, through which no gradient flows. The target is a moving average of the online
encoder (momentum > 0) or the online encoder itself (momentum = 0).

Pairs can agree by one thing that they see first, and the features fill with it. Two settings of
ours are against it, both 0 in the paper's objective. `appearance_contrast`: ACP asks for the other
clip less so much of the mean of the clips that look most like it: what they share is seen already,
and counts less. `decorrelation`: a penalty on the correlation of the features' channels.
"""

import copy
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.functional import normalize

from trainer.backbones import make_backbone
from trainer.bank import MemoryBank, Strides
from trainer.config import Model, Objective
from trainer.decorrelation import correlation
from trainer.ranks import gather_pairs, sum_over_ranks, world


@dataclass(frozen=True)
class Embeddings:
    """N clips in both spaces: float32, N x dim each, L2-normalised."""

    appearance: torch.Tensor
    speed: torch.Tensor


@dataclass(frozen=True)
class Losses:
    """What one batch costs, and what the monitor wants to know of it. The mean of `total` over the
    ranks is the loss of the joint batch; the numbers after it are of the joint batch already."""

    total: torch.Tensor  # with gradient
    loss: torch.Tensor
    appearance: torch.Tensor  # ACP, 0 .. 4
    speed: torch.Tensor  # SCP, 0 .. 4; 0 as long as no clip has a target
    correlation: torch.Tensor  # of the features' channels, mean square, 0 .. 1
    with_neighbour: torch.Tensor  # share of clips that have one: another video, or a direction
    target: Embeddings  # of the joint batch
    neighbours: "Neighbours"  # of this rank's clips


@dataclass(frozen=True)
class Neighbours:
    """The "other videos" at the clip's own speed that SCP found for N clips; all N x k."""

    found: torch.Tensor  # bool; where False, the other two say nothing
    video: torch.Tensor  # int64
    age: torch.Tensor  # int64: clips that came after it


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

    def forward(self, clips: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """float32 N x 3 x T x H x W to features N x channels, N x dim in appearance and N x dim in
        speed."""
        features = self.backbone(clips).mean(dim=(2, 3, 4))
        return features, self.appearance(features), self.speed(features)


def distance(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """|| p - z ||^2 = 2 - 2 cos(p, z) of each pair of rows, the rows L2-normalised first."""
    return 2 - 2 * (normalize(prediction, dim=-1) * normalize(target, dim=-1)).sum(-1)


def _mean_of(rows: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
    """float32 N x k x dim, bool N x k: the mean of those of the k that are there, N x dim."""
    there = there[..., None]
    return (rows * there).sum(1) / there.sum(1).clamp(min=1)


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
        scores: torch.Tensor | None = None,
    ) -> Losses:
        """`clips`: float32 2B x 3 x T x H x W, the first clips of B videos, then the second ones.
        `stride`, `video`, `group`: int64 2B. `with_speed`: False leaves SCP out (warm-up).
        `scores`: float32 2B x bank, what SCP's neighbours are the highest of; None: similarity in
        appearance."""
        features, appearance, speed = self.encoder(clips)
        target = self._target(clips, appearance, speed)
        predicted_appearance = self.predict_appearance(appearance)
        predicted_speed = self.predict_speed(speed)
        with torch.autocast(clips.device.type, enabled=False):  # distances want all their digits
            return self._losses(
                correlation(gather_pairs(features)),
                predicted_appearance.float(),
                predicted_speed.float(),
                target,
                torch.stack([stride, video, group], 1),
                with_speed,
                scores,
            )

    def _losses(
        self,
        correlated: torch.Tensor,
        appearance: torch.Tensor,
        speed: torch.Tensor,
        target: Embeddings,
        labels: torch.Tensor,
        with_speed: bool,
        scores: torch.Tensor | None,
    ) -> Losses:
        settings = self.objective
        similar = self.bank.similarity(target.appearance)
        first, second = self._appearance_targets(target.appearance, similar, labels).chunk(2)
        acp = distance(appearance, torch.cat([second, first]))

        scores = similar if scores is None else scores
        targets, found, neighbours = self._speed_targets(scores, labels)
        scp = distance(speed[:, None], targets) * found

        # Ranks find unequal numbers of neighbours: shares of the joint batch, not of the rank's.
        counts = torch.stack([acp.sum(), scp.sum(), found.sum(), found.any(1).sum()]).detach()
        joint_acp, joint_scp, joint_found, joint_any = sum_over_ranks(counts).unbind()
        clips, pairs = len(acp) * world(), joint_found.clamp(min=1)
        weight = settings.speed_weight if with_speed else 0.0
        total = settings.appearance_weight * acp.mean() + weight * scp.sum() * world() / pairs
        loss = settings.appearance_weight * joint_acp / clips + weight * joint_scp / pairs
        if settings.decorrelation:
            # All ranks have its value, each the gradient of its own clips; and these are averaged.
            of_joint = world() * correlated - (world() - 1) * correlated.detach()
            total = total + settings.decorrelation * of_joint
            loss = loss + settings.decorrelation * correlated.detach()

        joint = Embeddings(gather_pairs(target.appearance), gather_pairs(target.speed))
        self.bank.append(joint.appearance, joint.speed, *gather_pairs(labels).unbind(1))
        return Losses(
            total=total,
            loss=loss,
            appearance=joint_acp / clips,
            speed=joint_scp / pairs,
            correlation=correlated.detach(),
            with_neighbour=joint_any / clips,
            target=joint,
            neighbours=neighbours,
        )

    @torch.no_grad()
    def _nearest(
        self, scores: torch.Tensor, labels: torch.Tensor, strides: Strides
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Places in the bank and whether there is one, both N x k."""
        own, (stride, video, group) = self.objective, labels.unbind(1)
        k, exclude = own.neighbours, own.exclude_siblings
        return self.bank.neighbours(scores, stride, video, group, k, exclude, strides)

    @torch.no_grad()
    def _appearance_targets(
        self, appearance: torch.Tensor, similar: torch.Tensor, labels: torch.Tensor
    ) -> torch.Tensor:
        """What the other clip of its video shall agree with, for N clips: float32 N x dim."""
        contrast = self.objective.appearance_contrast
        if not contrast:
            return appearance
        places, found = self._nearest(similar, labels, "any")
        return appearance - contrast * _mean_of(self.bank.appearance[places], found)

    @torch.no_grad()
    def _speed_targets(
        self, scores: torch.Tensor, labels: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, Neighbours]:
        """What N clips shall agree with in speed: float32 N x T x dim, bool N x T whether it is
        there, and the neighbours it comes from. T is k, or 1 for a direction."""
        places, found = self._nearest(scores, labels, "own")
        neighbours = Neighbours(found, self.bank.video[places], self.bank.age(places))
        speeds = self.bank.speed[places]
        if self.objective.speed_target == "place":
            return speeds, found, neighbours
        others, there = self._nearest(scores, labels, "other")
        away = _mean_of(self.bank.speed[others], there)
        both = found.any(1, keepdim=True) & there.any(1, keepdim=True)
        return (_mean_of(speeds, found) - away)[:, None], both, neighbours

    @torch.no_grad()
    def _target(
        self, clips: torch.Tensor, appearance: torch.Tensor, speed: torch.Tensor
    ) -> Embeddings:
        if self.target is not None:
            _, appearance, speed = self.target(clips)
        return Embeddings(normalize(appearance.float(), dim=1), normalize(speed.float(), dim=1))

    @torch.no_grad()
    def update_target(self, momentum: float) -> None:
        """target = momentum * target + (1 - momentum) * encoder, batch-norm statistics copied."""
        if self.target is None:
            return
        kept: list[torch.Tensor] = list(self.target.parameters())
        latest: list[torch.Tensor] = list(self.encoder.parameters())
        torch._foreach_lerp_(kept, latest, 1 - momentum)
        torch._foreach_copy_(list(self.target.buffers()), list(self.encoder.buffers()))
