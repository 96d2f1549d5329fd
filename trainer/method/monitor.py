"""Metrics that show whether training is healthy. Class labels are used here, and nowhere in the
losses."""

import math
from dataclasses import replace
from functools import lru_cache

import torch

from trainer.config.settings import Objective
from trainer.data.training_set import TrainingSet
from trainer.distributed import gather_pairs
from trainer.method.ascnet import Embeddings, Losses, SpeedNeighbours
from trainer.method.decorrelation import correlation
from trainer.method.memory_bank import MemoryBank

_LATEST = 1024  # clips of the bank that the metrics use


def embedding_std(embeddings: torch.Tensor) -> float:
    """Standard deviation of L2-normalised embeddings (N x dim) over the batch, averaged over the
    dimensions. 0 means that all clips are mapped to one point (collapse); 1 / sqrt(dim), that they
    are spread uniformly over the sphere (Chen & He 2021, section 4.1)."""
    return float(embeddings.std(dim=0, correction=0).mean()) if len(embeddings) > 1 else 0.0


def healthy_std(dim: int) -> float:
    """The `embedding_std` of embeddings spread uniformly over the sphere."""
    return 1 / math.sqrt(dim)


def effective_rank(embeddings: torch.Tensor) -> float:
    """Effective rank of centred embeddings (N x dim): exp of the entropy of their normalised
    singular values (Roy & Vetterli 2007). From 1 (a line) to dim; 0 for a single point.
    Embeddings of low rank have partly collapsed, whatever their std; but with
    `speed_target = "direction"`, SCP needs no more dimensions than the number of speeds minus one.
    """
    if len(embeddings) < 2:
        return 0.0
    centred = embeddings.double() - embeddings.double().mean(0)
    values = torch.linalg.eigvalsh(centred.mT @ centred).clamp(min=0).sqrt()
    if float(values.sum()) < 1e-9:
        return 0.0
    shares = values / values.sum()
    return float(torch.exp(-torch.special.xlogy(shares, shares).sum()))


@lru_cache(maxsize=64)
def healthy_rank(count: int, dim: int) -> float:
    """The `effective_rank` of `count` embeddings spread uniformly over the sphere."""
    generator = torch.Generator().manual_seed(0)
    return effective_rank(torch.randn(count, dim, generator=generator))


def embedding_stds(joint: Embeddings, settings: Objective, with_speed: bool) -> dict[str, float]:
    """The `embedding_std` of each head that this step trains, by its name."""
    stds = {}
    if settings.appearance_weight:
        stds["appearance"] = embedding_std(joint.appearance)
    if settings.speed_weight and with_speed:
        stds["speed"] = embedding_std(joint.speed)
    return stds


@torch.no_grad()
def with_correlation(losses: Losses) -> Losses:
    """The losses with the channel correlation of the joint batch, which training itself computes
    only where it is penalised. All ranks must call this together."""
    if losses.correlation is not None:
        return losses
    return replace(losses, correlation=correlation(gather_pairs(losses.seen.features)))


def loss_numbers(losses: Losses, joint: Embeddings) -> dict[str, float | None]:
    """Metrics of the losses and of the joint batch's embeddings, by their names in the log."""
    return {
        "loss": float(losses.loss),
        "loss_appearance": float(losses.appearance),
        "loss_speed": float(losses.speed),
        "correlation": None if losses.correlation is None else float(losses.correlation),
        "with_neighbour": float(losses.with_neighbour),
        "std_appearance": embedding_std(joint.appearance),
        "std_speed": embedding_std(joint.speed),
        "std_healthy": healthy_std(joint.speed.shape[1]),
    }


def told_by_speed(embeddings: torch.Tensor, stride: torch.Tensor) -> float | None:
    """Share of the variance of embeddings (N x dim) explained by the clips' strides (int64, N), 0
    to 1: 1 - (variance within strides) / (variance), the correlation ratio. Near 0, speed is not
    encoded, whatever the loss says. None if all embeddings are equal."""
    rows = embeddings.double() - embeddings.double().mean(0)
    total = float(rows.square().sum())
    if total < 1e-9:
        return None
    same = (stride[:, None] == stride.unique()).double()  # N x speeds
    means = same.mT @ rows / same.sum(0)[:, None]
    return float((means.square().sum(1) * same.sum(0)).sum()) / total


def bank_numbers(bank: MemoryBank) -> dict[str, float | None]:
    """Effective rank of both spaces over the latest clips, the rank of uniform embeddings for
    comparison, and the share of the speed space explained by speed."""
    appearance, speed, stride = (rows.cpu() for rows in bank.latest(_LATEST))
    return {
        "rank_appearance": effective_rank(appearance),
        "rank_speed": effective_rank(speed),
        "rank_healthy": healthy_rank(*appearance.shape),
        "speed_told": told_by_speed(speed, stride),
    }


def neighbour_numbers(
    neighbours: SpeedNeighbours, videos: torch.Tensor, data: TrainingSet, clips_a_step: int
) -> dict[str, float | None]:
    """Describe SCP's neighbours of the clips of `videos` (int64, N): the share from the clip's own
    source group, the share of its class (among pairs of known class), and their mean age in the
    bank, in steps. None where there is no neighbour or no known class."""
    found = neighbours.found.cpu()
    other, clip = neighbours.video.cpu()[found], videos[:, None].expand_as(found)[found]
    pairs = list(zip(other.tolist(), clip.tolist(), strict=True))
    same_group = [data.groups[a] == data.groups[b] for a, b in pairs]
    known = [(a, b) for a, b in pairs if data.labels[a] >= 0 and data.labels[b] >= 0]
    same_class = [data.labels[a] == data.labels[b] for a, b in known]
    return {
        "neighbour_same_group": _mean(torch.tensor(same_group)),
        "neighbour_same_class": _mean(torch.tensor(same_class)),
        "neighbour_age": _mean(neighbours.age.cpu()[found] / clips_a_step),
    }


def _mean(values: torch.Tensor) -> float | None:
    return float(values.double().mean()) if len(values) else None
