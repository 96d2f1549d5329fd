"""A classifier of clips: a backbone, pooling and a linear layer."""

import copy

import torch
from torch import nn

from evaluate.choices import ATTENTIVE
from evaluate.errors import EvaluateError
from evaluate.features.encode import Pooled, to_device
from evaluate.finetune.attentive_pooling import AttentivePooling, heads_for
from evaluate.finetune.joint_dropout import JointDropout
from evaluate.finetune.settings import FinetuneSettings
from evaluate.protocol import LAST, Protocol
from trainer.distributed import world
from trainer.sync_batch_norm import synchronise

_SPREAD = 0.01  # standard deviation of the linear layer's initial weights; SlowFast


class Classifier(nn.Module):
    """Map clips, float32 N x 3 x T x S x S, to logits, N x classes.

    If it is frozen, only the linear layer and the attentive pooling are trained; the backbone stays
    in evaluation mode, so its batch-norm statistics do not change either. If ranks share a batch,
    batch norm and dropout are computed over the joint batch.

    Attributes:
        is_cut: whether the backbone has weights after the pooled layer, which are not trained
    """

    def __init__(
        self,
        backbone: nn.Module,
        classes: int,
        protocol: Protocol,
        device: torch.device,
        settings: FinetuneSettings,
    ) -> None:
        """Put a copy of the backbone, with pooling and a linear layer, on the device. The layer and
        the pooling are those of the protocol, unless the head is attentive. New weights depend on
        the settings' seed alone. Raises EvaluateError if there is no such layer, or if attention
        cannot pool its output."""
        super().__init__()
        self.frozen = settings.frozen
        copied = copy.deepcopy(backbone)
        if world() > 1 and not self.frozen:
            synchronise(copied, device)
        self.features = Pooled(copied, protocol.layer, protocol.pooling)
        to_device(self.features, device)
        self.is_cut = protocol.layer != LAST
        self.dropout = JointDropout(settings.dropout)
        self.attention: AttentivePooling | None = None
        channels = self.features.channels(protocol, device)
        self.fc = nn.Linear(channels, classes)
        generator = torch.Generator().manual_seed(settings.seed)
        nn.init.normal_(self.fc.weight, std=_SPREAD, generator=generator)
        nn.init.zeros_(self.fc.bias)
        if settings.head == ATTENTIVE:
            _must_have_positions(self.features, protocol, device)
            heads = heads_for(channels, settings.heads)
            self.attention = AttentivePooling(channels, heads, generator).to(device)
        self.fc.to(device)
        self.features.requires_grad_(not self.frozen)

    def train(self, mode: bool = True) -> "Classifier":
        super().train(mode)
        if self.frozen:
            self.features.eval()
        return self

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        pool = self.features if self.attention is None else self.features.positions
        features: torch.Tensor = pool(clips)
        with torch.autocast(clips.device.type, enabled=False):
            features = features.float()
            if self.attention is not None:
                features = self.attention(features)
            logits: torch.Tensor = self.fc(self.dropout(features))
        return logits

    def learned(self) -> dict[str, torch.Tensor]:
        """A copy of all weights and statistics that training changes, on the CPU."""
        return {k: v.detach().cpu().clone() for k, v in self._learning().state_dict().items()}

    def load(self, learned: dict[str, torch.Tensor]) -> None:
        """Load the result of `learned`."""
        self._learning().load_state_dict(learned)

    def _learning(self) -> nn.Module:
        if not self.frozen:
            return self
        if self.attention is None:
            return self.fc
        return nn.ModuleDict({"attention": self.attention, "fc": self.fc})


def _must_have_positions(features: Pooled, protocol: Protocol, device: torch.device) -> None:
    if features.map_shape(protocol, device)[1] == 1:
        layer = "The network" if protocol.layer == LAST else f"Layer {protocol.layer}"
        raise EvaluateError(
            f"{layer} gives one vector for a clip of {protocol.frames} frames of {protocol.size} "
            "pixels, but an attentive probe needs a map or tokens. Name an earlier layer with "
            "--layer, use larger clips, let your own encoder return its map or tokens, or pass "
            "--head linear."
        )
