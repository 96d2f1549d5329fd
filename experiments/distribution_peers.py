"""Peers that keep features from collapsing by what their distribution must be: one encoder, no
predictor, no moving average, no stopped gradient. See peers.py."""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn.functional import mse_loss, normalize, relu

from experiments.peer_parts import Batch, Peer
from trainer.config.settings import Config
from trainer.method.ascnet import direction, mlp, speed_losses
from trainer.method.memory_bank import ClipLabels, MemoryBank, Speed

SPEEDS: tuple[Speed, Speed] = ("same", "other")  # of neighbours, as `direction` takes them


def projector(settings: Config, channels: int) -> nn.Sequential:
    """Three layers, batch norm after the first two."""
    hidden, dim = settings.model.hidden, settings.model.dim
    first = nn.Linear(channels, hidden), nn.BatchNorm1d(hidden), nn.ReLU(inplace=True)
    return nn.Sequential(*first, *mlp(hidden, hidden, dim))


class _Projected(Peer):
    """Two clips of a video, embedded by one encoder."""

    agree: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

    def __init__(self, settings: Config, classes: int) -> None:
        super().__init__(settings)
        self.project = projector(settings, self.backbone.channels)

    def loss(self, batch: Batch) -> torch.Tensor:
        return self.agree(*self.project(self.features(batch.clips)).chunk(2))


def vicreg(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Bardes et al. 2022 (arXiv 2105.04906), section 4.1, of the embeddings (float32, B x dim) of
    two clips of B videos: the two agree; every dimension varies by 1 or more; no two dimensions
    vary together. Weights 25, 25 and 1."""
    loss = 25 * mse_loss(first, second)
    for view in (first, second):
        centred = view - view.mean(dim=0)
        covariance = centred.T @ centred / (len(view) - 1)
        deviation = (covariance.diagonal() + 1e-4).sqrt()
        apart = covariance - covariance.diagonal().diag()
        loss = loss + 25 * relu(1 - deviation).mean() / 2 + apart.square().sum() / len(apart)
    return loss


def sigreg(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Balestriero & LeCun 2025 (LeJEPA, arXiv 2511.08544), sections 4 and 5, of the embeddings
    (float32, B x dim) of two clips of B videos: the two agree with their mean, and those of a batch
    look like an isotropic normal distribution along 1024 random directions. The weight of the
    latter is their 0.05."""
    weight, directions = 0.05, 1024
    views = torch.stack([first, second])
    agreement = (views - views.mean(dim=0)).square().mean()
    # Drawn on the CPU, as all that is random in a step: the same on every device.
    drawn = torch.randn(directions, views.shape[2]).to(views.device)
    along = views @ normalize(drawn, dim=1).T
    normality = torch.stack([epps_pulley(view) for view in along]).mean()
    return (1 - weight) * agreement + weight * normality


class Vicreg(_Projected):
    agree = staticmethod(vicreg)


class Sigreg(_Projected):
    agree = staticmethod(sigreg)


class _WithSpeed(_Projected):
    """That, and SCP with our direction: a simpler ASCNet of one encoder, without predictors, moving
    average, contrast and penalty. The recipe's `speed_weight` and `neighbours` count."""

    def __init__(self, settings: Config, classes: int) -> None:
        super().__init__(settings, classes)
        model = settings.model
        self.speed = mlp(self.backbone.channels, model.hidden, model.dim)
        self.bank = MemoryBank(settings.objective.bank, model.dim)

    def loss(self, batch: Batch) -> torch.Tensor:
        features = self.features(batch.clips)
        appearance, speed = self.project(features), self.speed(features)
        target, found = self._direction(normalize(appearance.detach(), dim=1), batch.labels)
        scp = speed_losses(speed, target, found).sum() / found.sum().clamp(min=1)
        self.bank.append(
            normalize(appearance.detach(), dim=1), normalize(speed.detach(), dim=1), batch.labels
        )
        agreement = self.agree(*appearance.chunk(2))
        return agreement + self.settings.objective.speed_weight * scp

    @torch.no_grad()
    def _direction(
        self, appearance: torch.Tensor, labels: ClipLabels
    ) -> tuple[torch.Tensor, torch.Tensor]:
        objective, bank = self.settings.objective, self.bank
        similarity, both = bank.similarity(appearance), []
        for speed in SPEEDS:
            slots, found = bank.nearest(
                similarity, labels, objective.neighbours, speed, objective.exclude_siblings
            )
            both += [bank.speed[slots], found]
        return direction(*both)


class VicregSpeed(_WithSpeed):
    agree = staticmethod(vicreg)


class SigregSpeed(_WithSpeed):
    agree = staticmethod(sigreg)


def epps_pulley(values: torch.Tensor) -> torch.Tensor:
    """How far each column of `values` (float32, N x M) is from a standard normal sample: N times
    the integral of the squared difference of the characteristic functions, weighted by the normal
    one, by the trapezoidal rule at 17 points of -5 to 5 (algorithm 1 of the paper). Float32, M."""
    points = torch.linspace(-5, 5, 17, device=values.device)
    normal = (-points.square() / 2).exp()
    angles = values[:, :, None] * points
    real, imaginary = angles.cos().mean(dim=0), angles.sin().mean(dim=0)
    difference = (real - normal).square() + imaginary.square()
    return len(values) * torch.trapezoid(difference * normal, points, dim=1)
