"""ASCNet with random videos in place of the nearest in appearance: an ablation of SCP's
retrieval."""

from dataclasses import replace

import torch
from torch import nn

from experiments.peer_parts import Batch, Peer
from trainer.config.settings import Config
from trainer.errors import TrainerError
from trainer.method.ascnet import ASCNet
from trainer.method.decorrelation import correlation
from trainer.method.memory_bank import MemoryBank


class RandomBank(MemoryBank):
    """A memory bank with random similarities, drawn from torch's global generator."""

    @torch.no_grad()
    def similarity(self, appearance: torch.Tensor) -> torch.Tensor:
        drawn = torch.rand(len(appearance), len(self.stride))  # on the CPU: same on every device
        return drawn.to(appearance.device)


class RandomNeighbours(Peer):
    """The recipe's objective with random neighbours."""

    def __init__(self, settings: Config, classes: int) -> None:
        """Raises TrainerError for a recipe with `appearance_contrast`, which needs the nearest
        neighbours for ACP, too."""
        nn.Module.__init__(self)  # ASCNet makes the backbone
        self.objective = settings.objective
        if self.objective.appearance_contrast:
            raise TrainerError(
                "Random neighbours are for SCP; objective.appearance_contrast is "
                f"{self.objective.appearance_contrast:g} and must be 0."
            )
        self.model = ASCNet(settings.model, replace(self.objective, decorrelation=0.0))
        self.model.bank = RandomBank(self.objective.bank, settings.model.dim)
        self.backbone = self.model.encoder.backbone

    def loss(self, batch: Batch) -> torch.Tensor:
        with_speed = batch.share >= self.objective.speed_warmup
        losses = self.model(batch.clips, batch.labels, with_speed)
        self.model.remember(losses.seen.target, batch.labels)
        self.correlated = correlation(losses.seen.features)
        total: torch.Tensor = losses.total
        return total

    def after_step(self, momentum: float) -> None:
        self.model.update_target(momentum)
