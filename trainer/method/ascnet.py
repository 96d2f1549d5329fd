"""The method on one page: ASCNet (Huang et al., ICCV 2021, arXiv 2106.02342).

One video encoder maps a clip into an appearance space and a speed space. All pairs are positive:

ACP  appearance consistency perception: two clips of the same video at different playback speeds
     agree in appearance. Loss L_a.
SCP  speed consistency perception: two clips of different videos at the same playback speed agree in
     speed. Loss L_m. The other video is the nearest in appearance among the memory bank's clips of
     that speed.

The loss is lambda_a L_a + lambda_m L_m. Each is || p - z ||^2 of L2-normalised vectors: p is
predicted from the encoder's embedding, z is the target network's, and no gradient flows through z.
With momentum = 0 the encoder is its own target network, as the caption of the paper's figure says
("all of the video encoders share the parameters"); a moving average is ours, from BYOL for video
(Feichtenhofer et al., CVPR 2021).

Three additions of ours, all off in the paper's objective:

appearance_contrast  ACP's target minus a share of the mean of its nearest neighbours.
speed_target         "direction": SCP's target is the difference between playback speeds. The
                     neighbour's embedding encodes appearance as well as speed.
decorrelation        a penalty on correlated channels. Positive-only objectives invite shortcuts:
                     the first cue that is learnt dominates the features.
"""

import copy
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.functional import normalize

from trainer.backbones.all_backbones import make_backbone
from trainer.config.settings import Model, Objective
from trainer.distributed import gather_pairs, sum_over_ranks, world
from trainer.method.decorrelation import correlation
from trainer.method.memory_bank import ClipLabels, MemoryBank, Speed

# The paper's two losses. Of 2B clips, the first B are of B videos, the second B of the same videos.


def distance(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """|| p - z ||^2 = 2 - 2 cos(p, z) of each pair of rows, the rows L2-normalised first."""
    return 2 - 2 * (normalize(prediction, dim=-1) * normalize(target, dim=-1)).sum(-1)


def appearance_losses(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """L_a of 2B clips, each with the other clip of its video: 2B x dim both, to 2B."""
    first, second = target.chunk(2)
    return distance(prediction, torch.cat([second, first]))


def speed_losses(
    prediction: torch.Tensor, neighbours: torch.Tensor, found: torch.Tensor
) -> torch.Tensor:
    """L_m of N clips, each with its k neighbours: N x dim and N x k x dim, to N x k. It is 0 where
    no neighbour was `found` (bool, N x k)."""
    return distance(prediction[:, None], neighbours) * found


# Our additions.


def contrasted(
    target: torch.Tensor, neighbours: torch.Tensor, found: torch.Tensor, share: float
) -> torch.Tensor:
    """`appearance_contrast`: ACP's targets (N x dim) minus a share of the mean of their neighbours
    (N x k x dim) at any speed. What similar videos have in common then counts less."""
    return target - share * _mean_of(neighbours, found)


def direction(
    same: torch.Tensor, same_found: torch.Tensor, other: torch.Tensor, other_found: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """`speed_target = "direction"`: from the mean of the neighbours at other speeds to the mean of
    those at the clip's own (N x k x dim both). N x 1 x dim, and bool N x 1: whether both exist.
    Unlike the paper's, this target pushes a clip away from clips at other speeds."""
    both = same_found.any(1, keepdim=True) & other_found.any(1, keepdim=True)
    return (_mean_of(same, same_found) - _mean_of(other, other_found))[:, None], both


def _mean_of(rows: torch.Tensor, found: torch.Tensor) -> torch.Tensor:
    """Mean of those of the k rows that were found: float32 N x k x dim, bool N x k, to N x dim."""
    found = found[..., None]
    return (rows * found).sum(1) / found.sum(1).clamp(min=1)


# The networks.


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
    """Backbone, global average pooling, and a projection head for each space."""

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


@dataclass(frozen=True)
class Embeddings:
    """N clips in both spaces: float32, N x dim each, L2-normalised."""

    appearance: torch.Tensor
    speed: torch.Tensor


@dataclass(frozen=True)
class SpeedNeighbours:
    """SCP's neighbours of N clips at their own speed, k of each; all N x k."""

    found: torch.Tensor
    """bool; where it is False, the other two mean nothing."""
    video: torch.Tensor
    """int64."""
    age: torch.Tensor
    """int64: clips that were added to the bank after it."""


@dataclass(frozen=True)
class Seen:
    """What the networks made of this rank's N clips."""

    features: torch.Tensor
    """N x channels, with gradient."""
    target: Embeddings
    """By the target network."""
    neighbours: SpeedNeighbours


@dataclass(frozen=True)
class Losses:
    """The losses of a batch. The mean of `total` over the ranks is the loss of the joint batch; all
    that follows it, but for `seen`, is of the joint batch and without gradient."""

    total: torch.Tensor
    loss: torch.Tensor
    appearance: torch.Tensor
    """L_a, 0 to 4."""
    speed: torch.Tensor
    """L_m, 0 to 4; 0 as long as no clip has a target."""
    correlation: torch.Tensor | None
    """Mean squared correlation of the features' channels, 0 to 1; None if it is no part of the
    loss."""
    with_neighbour: torch.Tensor
    """Share of the clips that have a target in SCP."""
    seen: Seen


class ASCNet(nn.Module):
    """Encoder, predictors, target network and memory bank."""

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

    def forward(self, clips: torch.Tensor, labels: ClipLabels, with_speed: bool = True) -> Losses:
        """The losses of float32 2B x 3 x T x H x W clips: the first clips of B videos, then the
        second ones. `with_speed`: False leaves SCP out (warm-up). Nothing changes but the running
        statistics of batch norm; `remember` and `update_target` come after the backward pass."""
        features, appearance, speed = self.encoder(clips)
        target = self._target(clips, appearance, speed)
        predicted_appearance = self.predict_appearance(appearance)
        predicted_speed = self.predict_speed(speed)
        with torch.autocast(clips.device.type, enabled=False):  # distances want all their digits
            similarity = self.bank.similarity(target.appearance)
            acp = appearance_losses(
                predicted_appearance.float(),
                self._appearance_target(target.appearance, similarity, labels),
            )
            speed_target, found, neighbours = self._speed_target(similarity, labels)
            scp = speed_losses(predicted_speed.float(), speed_target, found)
            return self._weighted(acp, scp, found, with_speed, Seen(features, target, neighbours))

    @torch.no_grad()
    def remember(self, embeddings: Embeddings, labels: ClipLabels) -> Embeddings:
        """Add this batch to the memory bank: the target network's embeddings of this rank's clips.
        Those of the joint batch come back."""
        joint = Embeddings(gather_pairs(embeddings.appearance), gather_pairs(embeddings.speed))
        rows = gather_pairs(torch.stack([labels.stride, labels.video, labels.group], 1))
        self.bank.append(joint.appearance, joint.speed, ClipLabels(*rows.unbind(1)))
        return joint

    @torch.no_grad()
    def update_target(self, momentum: float) -> None:
        """target = momentum * target + (1 - momentum) * encoder, batch-norm statistics copied."""
        if self.target is None:
            return
        averages: list[torch.Tensor] = list(self.target.parameters())
        latest: list[torch.Tensor] = list(self.encoder.parameters())
        torch._foreach_lerp_(averages, latest, 1 - momentum)
        torch._foreach_copy_(list(self.target.buffers()), list(self.encoder.buffers()))

    @torch.no_grad()
    def _target(
        self, clips: torch.Tensor, appearance: torch.Tensor, speed: torch.Tensor
    ) -> Embeddings:
        if self.target is not None:
            _, appearance, speed = self.target(clips)
        return Embeddings(normalize(appearance.float(), dim=1), normalize(speed.float(), dim=1))

    @torch.no_grad()
    def _appearance_target(
        self, target: torch.Tensor, similarity: torch.Tensor, labels: ClipLabels
    ) -> torch.Tensor:
        """What ACP asks of the other clip of each clip's video: float32 N x dim."""
        if not self.objective.appearance_contrast:
            return target
        slots, found = self._nearest(similarity, labels, "any")
        nearest = self.bank.appearance[slots]
        return contrasted(target, nearest, found, self.objective.appearance_contrast)

    @torch.no_grad()
    def _speed_target(
        self, similarity: torch.Tensor, labels: ClipLabels
    ) -> tuple[torch.Tensor, torch.Tensor, SpeedNeighbours]:
        """What SCP asks of N clips: float32 N x T x dim; whether there is a target, bool N x T; and
        the neighbours at the clips' own speed. T is k, or 1 for a direction."""
        slots, found = self._nearest(similarity, labels, "same")
        neighbours = SpeedNeighbours(found, self.bank.video[slots], self.bank.age(slots))
        if self.objective.speed_target == "neighbour":
            return self.bank.speed[slots], found, neighbours
        other_slots, other_found = self._nearest(similarity, labels, "other")
        speed = self.bank.speed
        return *direction(speed[slots], found, speed[other_slots], other_found), neighbours

    def _nearest(
        self, similarity: torch.Tensor, labels: ClipLabels, speed: Speed
    ) -> tuple[torch.Tensor, torch.Tensor]:
        settings = self.objective
        k, exclude = settings.neighbours, settings.exclude_siblings
        return self.bank.nearest(similarity, labels, k, speed, exclude)

    def _weighted(
        self,
        acp: torch.Tensor,
        scp: torch.Tensor,
        found: torch.Tensor,
        with_speed: bool,
        seen: Seen,
    ) -> Losses:
        """lambda_a L_a + lambda_m L_m, and the penalty. Ranks find unequal numbers of neighbours,
        so L_m is a mean over those of the joint batch, not over the rank's."""
        settings = self.objective
        counts = torch.stack([acp.sum(), scp.sum(), found.sum(), found.any(1).sum()]).detach()
        joint_acp, joint_scp, joint_found, joint_any = sum_over_ranks(counts).unbind()
        clips, pairs = len(acp) * world(), joint_found.clamp(min=1)
        weight = settings.speed_weight if with_speed else 0.0
        total = settings.appearance_weight * acp.mean() + weight * scp.sum() * world() / pairs
        loss = settings.appearance_weight * joint_acp / clips + weight * joint_scp / pairs
        correlated: torch.Tensor | None = None
        if settings.decorrelation:
            of_joint = correlation(gather_pairs(seen.features))
            correlated = of_joint.detach()
            # Every rank has the same value but the gradient of its own clips only, and gradients
            # are averaged over the ranks.
            total = total + settings.decorrelation * (
                world() * of_joint - (world() - 1) * correlated
            )
            loss = loss + settings.decorrelation * correlated
        return Losses(
            total=total,
            loss=loss,
            appearance=joint_acp / clips,
            speed=joint_scp / pairs,
            correlation=correlated,
            with_neighbour=joint_any / clips,
            seen=seen,
        )
