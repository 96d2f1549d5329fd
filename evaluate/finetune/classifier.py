"""A backbone with a linear layer on its pooled map: clips to a logit for every class."""

import copy

import torch
from torch import nn

from evaluate.features.encode import Pooled, to_device
from evaluate.finetune.joint_dropout import JointDropout
from evaluate.finetune.settings import FinetuneSettings
from evaluate.protocol import LAST, Protocol
from trainer.distributed import world
from trainer.sync_batch_norm import synchronise

_SPREAD = 0.01  # standard deviation of the linear layer's first weights; SlowFast


class Classifier(nn.Module):
    """float32 N x 3 x T x S x S to N x classes. If it is frozen, only the linear layer learns: the
    backbone stays in evaluation mode, so its batch norms keep their statistics, too. Where ranks
    share a batch, batch norm and dropout are those of the joint batch.

    Attributes:
        is_cut: whether there are weights behind the layer that is pooled, which learn nothing
    """

    def __init__(
        self,
        backbone: nn.Module,
        classes: int,
        protocol: Protocol,
        device: torch.device,
        settings: FinetuneSettings,
    ) -> None:
        """On the device, with a copy of the backbone; the layer and the pooling are the
        protocol's. The linear layer depends on the settings' seed alone. Raises EvaluateError if
        the backbone has no such layer."""
        super().__init__()
        self.frozen = settings.frozen
        own = copy.deepcopy(backbone)
        if world() > 1 and not self.frozen:
            synchronise(own, device)
        self.features = Pooled(own, protocol.layer, protocol.pooling)
        to_device(self.features, device)
        self.is_cut = protocol.layer != LAST
        self.dropout = JointDropout(settings.dropout)
        self.fc = nn.Linear(self.features.channels(protocol, device), classes)
        generator = torch.Generator().manual_seed(settings.seed)
        nn.init.normal_(self.fc.weight, std=_SPREAD, generator=generator)
        nn.init.zeros_(self.fc.bias)
        self.fc.to(device)
        self.features.requires_grad_(not self.frozen)

    def train(self, mode: bool = True) -> "Classifier":
        super().train(mode)
        if self.frozen:
            self.features.eval()
        return self

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        features = self.features(clips)
        with torch.autocast(clips.device.type, enabled=False):
            logits: torch.Tensor = self.fc(self.dropout(features.float()))
        return logits

    def learned(self) -> dict[str, torch.Tensor]:
        """What training changes, on the CPU: a copy."""
        part = self.fc if self.frozen else self
        return {k: v.detach().cpu().clone() for k, v in part.state_dict().items()}

    def load(self, learned: dict[str, torch.Tensor]) -> None:
        """Take what `learned` gave."""
        (self.fc if self.frozen else self).load_state_dict(learned)
