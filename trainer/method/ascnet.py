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
    """L_a of each of 2B clips with the other clip of its video: 2B x dim both, to 2B."""
    first, second = target.chunk(2)
    return distance(prediction, torch.cat([second, first]))


def speed_losses(
    prediction: torch.Tensor, neighbours: torch.Tensor, found: torch.Tensor
) -> torch.Tensor:
    """L_m of N clips with their k neighbours each: N x dim and N x k x dim, to N x k. Entries
    without a neighbour (`found` is False; bool, N x k) are 0."""
    return distance(prediction[:, None], neighbours) * found


# Our additions.


def contrasted(
    target: torch.Tensor, neighbours: torch.Tensor, found: torch.Tensor, share: float
) -> torch.Tensor:
    """`appearance_contrast`: ACP's targets (N x dim) minus `share` times the mean of their
    neighbours (N x k x dim) at any speed, so that what similar videos share counts less."""
    return target - share * _mean_of(neighbours, found)


def direction(
    same: torch.Tensor, same_found: torch.Tensor, other: torch.Tensor, other_found: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """`speed_target = "direction"`: the mean of the neighbours at the clip's own speed minus the
    mean of those at other speeds (N x k x dim both). Returns N x 1 x dim, and bool N x 1: whether
    both exist. Unlike the paper's, this target pushes a clip away from clips at other speeds."""
    both = same_found.any(1, keepdim=True) & other_found.any(1, keepdim=True)
    return (_mean_of(same, same_found) - _mean_of(other, other_found))[:, None], both


def _mean_of(rows: torch.Tensor, found: torch.Tensor) -> torch.Tensor:
    """Mean over the rows that were found: float32 N x k x dim and bool N x k, to N x dim."""
    found = found[..., None]
    return (rows * found).sum(1) / found.sum(1).clamp(min=1)


# The networks.


def mlp(inside: int, hidden: int, outside: int) -> nn.Sequential:
    """Two linear layers with batch norm and ReLU between them, as in BYOL (without batch norm,
    accuracy falls by half: Feichtenhofer et al. 2021)."""
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
        """Map clips (float32, N x 3 x T x H x W) to features (N x channels), appearance embeddings
        (N x dim) and speed embeddings (N x dim)."""
        features = self.backbone(clips).mean(dim=(2, 3, 4))
        return features, self.appearance(features), self.speed(features)


@dataclass(frozen=True)
class Embeddings:
    """Embeddings of N clips in both spaces: float32, N x dim each, L2-normalised."""

    appearance: torch.Tensor
    speed: torch.Tensor


@dataclass(frozen=True)
class SpeedNeighbours:
    """SCP's k nearest neighbours of N clips at their own speed; all N x k.

    Attributes:
        found: bool: whether there is such a neighbour; elsewhere `video` and `age` are undefined
        video: int64: its position in the training set
        age: int64: number of clips added to the bank after it
    """

    found: torch.Tensor
    video: torch.Tensor
    age: torch.Tensor


@dataclass(frozen=True)
class Seen:
    """Features, embeddings and neighbours of this rank's N clips.

    Attributes:
        features: the backbone's pooled features, N x channels, with gradient
        target: the target network's embeddings
    """

    features: torch.Tensor
    target: Embeddings
    neighbours: SpeedNeighbours


@dataclass(frozen=True)
class Losses:
    """The losses of a batch. All but `total` and `seen` are of the joint batch, without gradient.

    Attributes:
        total: this rank's loss to differentiate; its mean over the ranks is the joint batch's loss
        appearance: L_a, 0 to 4
        speed: L_m, 0 to 4; 0 as long as no clip has a target
        correlation: mean squared correlation of the features' channels, 0 to 1; None if the loss
            does not include it
        with_neighbour: share of the clips that have a target in SCP
    """

    total: torch.Tensor
    loss: torch.Tensor
    appearance: torch.Tensor
    speed: torch.Tensor
    correlation: torch.Tensor | None
    with_neighbour: torch.Tensor
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
        """Compute the losses of clips (float32, 2B x 3 x T x H x W): the first clips of B videos,
        then their second clips. `with_speed=False` leaves SCP out (warm-up). Changes only batch
        norm's running statistics; call `remember` and `update_target` after the backward pass."""
        features, appearance, speed = self.encoder(clips)
        target = self._target(clips, appearance, speed)
        predicted_appearance = self.predict_appearance(appearance)
        predicted_speed = self.predict_speed(speed)
        with torch.autocast(clips.device.type, enabled=False):  # distances need full precision
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
        """Add a batch to the memory bank, given the target network's embeddings of this rank's
        clips. Returns the embeddings of the joint batch."""
        joint = Embeddings(gather_pairs(embeddings.appearance), gather_pairs(embeddings.speed))
        rows = gather_pairs(torch.stack([labels.stride, labels.video, labels.group], 1))
        self.bank.append(joint.appearance, joint.speed, ClipLabels(*rows.unbind(1)))
        return joint

    @torch.no_grad()
    def update_target(self, momentum: float) -> None:
        """target = momentum * target + (1 - momentum) * encoder; batch norm's running statistics
        are copied."""
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
        """ACP's target that each clip gives to the other clip of its video: float32, N x dim."""
        if not self.objective.appearance_contrast:
            return target
        slots, found = self._nearest(similarity, labels, "any")
        nearest = self.bank.appearance[slots]
        return contrasted(target, nearest, found, self.objective.appearance_contrast)

    @torch.no_grad()
    def _speed_target(
        self, similarity: torch.Tensor, labels: ClipLabels
    ) -> tuple[torch.Tensor, torch.Tensor, SpeedNeighbours]:
        """SCP's T targets of N clips (float32, N x T x dim), whether each exists (bool, N x T), and
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
        """lambda_a L_a + lambda_m L_m, plus the decorrelation penalty. Ranks find different numbers
        of neighbours, so L_m is averaged over those of the joint batch, not over the rank's."""
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
            # All ranks have the same value, but each the gradient of its own clips only, and
            # gradients are averaged over the ranks.
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
