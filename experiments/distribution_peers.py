"""Peers that prevent collapse by regularising the distribution of the embeddings: one encoder, no
predictor, no moving average, no stop-gradient. See peers.py."""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn.functional import mse_loss, normalize, relu

from experiments.peer_parts import Batch, Peer
from trainer.config.settings import Config
from trainer.method.ascnet import direction, mlp, speed_losses
from trainer.method.memory_bank import ClipLabels, MemoryBank, Speed

SPEEDS: tuple[Speed, Speed] = ("same", "other")  # in the order of the arguments of `direction`


def projector(settings: Config, channels: int) -> nn.Sequential:
    """A projector of three layers, with batch norm after the first two."""
    hidden, dim = settings.model.hidden, settings.model.dim
    first = nn.Linear(channels, hidden), nn.BatchNorm1d(hidden), nn.ReLU(inplace=True)
    return nn.Sequential(*first, *mlp(hidden, hidden, dim))


class _Projected(Peer):
    """A loss `agree` on the embeddings of the two clips of each video, by one encoder."""

    agree: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

    def __init__(self, settings: Config, classes: int) -> None:
        super().__init__(settings)
        self.project = projector(settings, self.backbone.channels)

    def loss(self, batch: Batch) -> torch.Tensor:
        return self.agree(*self.project(self.features(batch.clips)).chunk(2))


def vicreg(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """The VICReg loss (Bardes et al. 2022, arXiv 2105.04906, section 4.1) of the embeddings
    (float32, B x dim) of two clips of B videos: mean squared error, a hinge on the standard
    deviation of every dimension at 1, and the squared covariances. Weights 25, 25 and 1."""
    loss = 25 * mse_loss(first, second)
    for view in (first, second):
        centred = view - view.mean(dim=0)
        covariance = centred.T @ centred / (len(view) - 1)
        deviation = (covariance.diagonal() + 1e-4).sqrt()
        apart = covariance - covariance.diagonal().diag()
        loss = loss + 25 * relu(1 - deviation).mean() / 2 + apart.square().sum() / len(apart)
    return loss


def sigreg(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """The LeJEPA loss (Balestriero & LeCun 2025, arXiv 2511.08544, sections 4 and 5) of the
    embeddings (float32, B x dim) of two clips of B videos: both agree with their mean, and each
    batch is close to an isotropic normal distribution along 1024 random directions. The latter term
    has the paper's weight, 0.05."""
    weight, directions = 0.05, 1024
    views = torch.stack([first, second])
    agreement = (views - views.mean(dim=0)).square().mean()
    # Drawn on the CPU, as all randomness in a step, so that it is the same on every device.
    drawn = torch.randn(directions, views.shape[2]).to(views.device)
    along = views @ normalize(drawn, dim=1).T
    normality = torch.stack([epps_pulley(view) for view in along]).mean()
    return (1 - weight) * agreement + weight * normality


class Vicreg(_Projected):
    agree = staticmethod(vicreg)


class Sigreg(_Projected):
    agree = staticmethod(sigreg)


class _WithSpeed(_Projected):
    """The same, plus SCP with `speed_target = "direction"`: a simpler ASCNet of one encoder,
    without predictors, moving average, contrast and decorrelation. It uses the recipe's
    `speed_weight` and `neighbours`."""

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
    """The Epps-Pulley statistic of each column of `values` (float32, N x M) for a standard normal
    distribution: N times the integral of the squared difference of the characteristic functions,
    weighted by the normal one, by the trapezoidal rule at 17 points from -5 to 5 (algorithm 1 of
    the paper). Returns float32, M."""
    points = torch.linspace(-5, 5, 17, device=values.device)
    normal = (-points.square() / 2).exp()
    angles = values[:, :, None] * points
    real, imaginary = angles.cos().mean(dim=0), angles.sin().mean(dim=0)
    difference = (real - normal).square() + imaginary.square()
    return len(values) * torch.trapezoid(difference * normal, points, dim=1)
