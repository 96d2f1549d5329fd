"""The peers: other objectives on the same clips, with the same backbone. Each is written from its
paper; `lightly` has three of them, but needs torchvision.

The learning rate, its schedule, the width of the heads and the momentum of a moving average are
those of the recipe, whatever the paper had, for the budget to be equal.
"""

import torch
from torch import nn
from torch.nn.functional import cross_entropy, normalize

from experiments.peer_parts import Average, Batch, Peer, Queue, contrast, swapped
from experiments.random_neighbours import RandomNeighbours
from trainer.config.settings import Config
from trainer.method.ascnet import distance, mlp


class Supervised(Peer):
    """Cross-entropy with the class: the ceiling."""

    def __init__(self, settings: Config, classes: int) -> None:
        super().__init__(settings)
        self.classify = nn.Linear(self.backbone.channels, classes)

    def loss(self, batch: Batch) -> torch.Tensor:
        return cross_entropy(self.classify(self.features(batch.clips)), batch.classes)


class Byol(Peer):
    """Grill et al. 2020 (arXiv 2006.07733), section 3.1: the prediction of one clip's projection
    agrees with the moving average's projection of the other clip; both ways round."""

    def __init__(self, settings: Config, classes: int) -> None:
        super().__init__(settings)
        model = settings.model
        self.project = mlp(self.backbone.channels, model.hidden, model.dim)
        self.predict = mlp(model.dim, model.hidden, model.dim)
        self.average = Average(self.backbone, self.project)

    def loss(self, batch: Batch) -> torch.Tensor:
        predicted = self.predict(self.project(self.features(batch.clips)))
        (target,) = self.average(batch.clips)
        return distance(predicted, swapped(target)).mean()

    def after_step(self, momentum: float) -> None:
        self.average.update(momentum, self.backbone, self.project)


class SimSiam(Peer):
    """Chen & He 2021 (arXiv 2011.10566), section 3: as BYOL without the moving average, the
    gradient stopped. Projector of three layers, batch norm after each; a predictor that is
    narrow in the middle."""

    def __init__(self, settings: Config, classes: int) -> None:
        super().__init__(settings)
        hidden, dim = settings.model.hidden, settings.model.dim
        self.project = nn.Sequential(
            nn.Linear(self.backbone.channels, hidden, bias=False),
            nn.BatchNorm1d(hidden),
            nn.ReLU(inplace=True),
            *mlp(hidden, hidden, dim),
            nn.BatchNorm1d(dim, affine=False),
        )
        self.predict = mlp(dim, max(1, dim // 4), dim)

    def loss(self, batch: Batch) -> torch.Tensor:
        projected = self.project(self.features(batch.clips))
        return distance(self.predict(projected), swapped(projected.detach())).mean()


class Moco(Peer):
    """He et al. 2020 (arXiv 1911.05722), algorithm 1, with the head and the temperature of MoCo v2
    (Chen et al. 2020, arXiv 2003.04297). Both clips are queries and keys. On one device there is
    no other batch to shuffle batch norm with."""

    temperature = 0.2

    def __init__(self, settings: Config, classes: int) -> None:
        super().__init__(settings)
        channels, model = self.backbone.channels, settings.model
        self.project = nn.Sequential(
            nn.Linear(channels, model.hidden), nn.ReLU(), nn.Linear(model.hidden, model.dim)
        )
        self.average = Average(self.backbone, self.project)
        self.queue = Queue(model.dim)

    def loss(self, batch: Batch) -> torch.Tensor:
        queries = normalize(self.project(self.features(batch.clips)), dim=1)
        keys = normalize(self.average(batch.clips)[0], dim=1)
        loss = contrast(queries, swapped(keys), self.queue.keys, self.temperature)
        self.queue.append(keys)
        return loss

    def after_step(self, momentum: float) -> None:
        self.average.update(momentum, self.backbone, self.project)


PEER_OF = {
    "byol": Byol,
    "simsiam": SimSiam,
    "moco": Moco,
    "random-neighbours": RandomNeighbours,
    "supervised": Supervised,
}
