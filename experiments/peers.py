"""The peers: other training objectives, with the same clips and the same backbone. Each is
implemented from its paper; `lightly` has three of them, but needs torchvision.

Learning rate, schedule, width of the heads and momentum of moving averages are those of the recipe,
not the paper's, so that the budget is equal.
"""

import torch
from torch import nn
from torch.nn.functional import cross_entropy, normalize

from experiments.distribution_peers import Sigreg, SigregSpeed, Vicreg, VicregSpeed
from experiments.peer_parts import Average, Batch, Peer, Queue, at_speed, contrast, swapped
from trainer.config.settings import Config
from trainer.method.ascnet import distance, mlp


class Supervised(Peer):
    """Supervised cross-entropy: the upper bound."""

    def __init__(self, settings: Config, classes: int) -> None:
        super().__init__(settings)
        self.classify = nn.Linear(self.backbone.channels, classes)

    def loss(self, batch: Batch) -> torch.Tensor:
        return cross_entropy(self.classify(self.features(batch.clips)), batch.classes)


class Byol(Peer):
    """Grill et al. 2020 (arXiv 2006.07733), section 3.1: the prediction from one clip's projection
    agrees with the moving average's projection of the other clip; symmetrised."""

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
    """Chen & He 2021 (arXiv 2011.10566), section 3: BYOL with a stop-gradient in place of the
    moving average. The projector has three layers, each with batch norm; the predictor is a
    bottleneck."""

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
    (Chen et al. 2020, arXiv 2003.04297). Both clips serve as queries and keys. There is no shuffled
    batch norm, which needs several devices."""

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


class RspNet(Peer):
    """Chen et al. 2021 (AAAI, arXiv 2011.07949): a clip is nearer to a clip of the same video at
    the same speed than to the same frames at the other speed (relative speed, margin ranking loss),
    and is discriminated from other videos at any speed (appearance, InfoNCE). Margin, temperature,
    the margin between logits and the linear heads are those of the authors' code.

    A clip of 2T frames gives T frames at 1x, its first half, or T at 2x, every second frame. Both
    clips of a video are queries."""

    long_clips = True
    temperature, margin = 0.07, 2.0

    def __init__(self, settings: Config, classes: int) -> None:
        super().__init__(settings)
        channels, dim = self.backbone.channels, settings.model.dim
        self.appearance, self.speed = nn.Linear(channels, dim), nn.Linear(channels, dim)
        self.average = Average(self.backbone, self.appearance, self.speed)
        self.queue = Queue(dim)

    def loss(self, batch: Batch) -> torch.Tensor:
        clips = batch.clips
        fast = (torch.rand(len(clips) // 2) < 0.5).repeat(2).to(clips.device)
        features = self.features(at_speed(clips, fast))
        appearance, speed = (normalize(h(features), dim=1) for h in (self.appearance, self.speed))
        same, other = (
            [normalize(swapped(z), dim=1) for z in self.average(at_speed(clips, which))]
            for which in (fast, ~fast)
        )
        pull, push = ((speed * z[1]).sum(1) / self.temperature for z in (same, other))
        ranking = (self.margin - (pull - push)).clamp(min=0).mean()
        told_apart = sum(
            contrast(appearance, z[0], self.queue.keys, self.temperature) for z in (same, other)
        )
        self.queue.append(same[0])
        return ranking + told_apart

    def after_step(self, momentum: float) -> None:
        self.average.update(momentum, self.backbone, self.appearance, self.speed)


PEER_OF = {
    "byol": Byol,
    "simsiam": SimSiam,
    "moco": Moco,
    "rspnet": RspNet,
    "vicreg": Vicreg,
    "sigreg": Sigreg,
    "vicreg-speed": VicregSpeed,
    "sigreg-speed": SigregSpeed,
    "supervised": Supervised,
}
