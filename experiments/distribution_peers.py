"""Peers that keep features from collapsing by what their distribution must be: one encoder, no
predictor, no moving average, no stopped gradient. See peers.py."""

import torch
from torch import nn
from torch.nn.functional import mse_loss, normalize, relu

from experiments.peer_parts import Batch, Peer
from trainer.config.settings import Config
from trainer.method.ascnet import mlp


class _Projected(Peer):
    """A projector of three layers."""

    def __init__(self, settings: Config, classes: int) -> None:
        super().__init__(settings)
        hidden, dim = settings.model.hidden, settings.model.dim
        self.project = nn.Sequential(
            nn.Linear(self.backbone.channels, hidden),
            nn.BatchNorm1d(hidden),
            nn.ReLU(inplace=True),
            *mlp(hidden, hidden, dim),
        )

    def views(self, batch: Batch) -> list[torch.Tensor]:
        """The embeddings of the first and of the second clips: B x dim each."""
        return list(self.project(self.features(batch.clips)).chunk(2))


class Vicreg(_Projected):
    """Bardes et al. 2022 (arXiv 2105.04906), section 4.1: the two embeddings of a video agree;
    every dimension varies by 1 or more; no two dimensions vary together. Weights 25, 25 and 1."""

    def loss(self, batch: Batch) -> torch.Tensor:
        first, second = self.views(batch)
        loss = 25 * mse_loss(first, second)
        for view in (first, second):
            centred = view - view.mean(dim=0)
            covariance = centred.T @ centred / (len(view) - 1)
            deviation = (covariance.diagonal() + 1e-4).sqrt()
            apart = covariance - covariance.diagonal().diag()
            loss = loss + 25 * relu(1 - deviation).mean() / 2 + apart.square().sum() / len(apart)
        return loss


class Sigreg(_Projected):
    """Balestriero & LeCun 2025 (LeJEPA, arXiv 2511.08544), sections 4 and 5: the embeddings of a
    video's clips agree with their mean, and those of a batch look like an isotropic normal
    distribution along random directions. The weight of the latter is their 0.05."""

    weight, directions = 0.05, 1024

    def loss(self, batch: Batch) -> torch.Tensor:
        views = torch.stack(self.views(batch))
        agreement = (views - views.mean(dim=0)).square().mean()
        # Drawn on the CPU, as all that is random in a step: the same on every device.
        drawn = torch.randn(self.directions, views.shape[2]).to(views.device)
        along = views @ normalize(drawn, dim=1).T
        normality = torch.stack([epps_pulley(view) for view in along]).mean()
        return (1 - self.weight) * agreement + self.weight * normality


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
