"""Attentive pooling for the attentive probe: a learnt query attends to the positions of a frozen
network's feature map.

Follows V-JEPA (Bardes et al. 2024, "Revisiting Feature Prediction for Learning Visual
Representations from Video", and `AttentivePooler` at depth 1 in its code): one query without layer
norm; keys and values from the layer-normed positions; residual connections around the attention and
around layer norm and MLP (GELU, 4 times as wide); the same initialisation; weight decay on the
query and the matrices only.

Our choices: the default number of heads is one per 64 channels (V-JEPA uses that of its encoder;
ViT-L also has 64 channels per head); the pooling is computed in float32 whatever the network's
precision; each clip is pooled by itself, and a video's logits are averaged over its clips (V-JEPA
attends to all clips of a video at once). The linear layer after it is initialised as in the linear
probe.

There is no position embedding. The tokens of V-JEPA and other transformers include theirs; for the
map of a 3D-CNN, position does not matter, as with average pooling.
"""

import math

import torch
from torch import nn
from torch.nn.functional import gelu

from evaluate.errors import EvaluateUsageError

_SPREAD = 0.02  # standard deviation of the initial weights; V-JEPA
_WIDER = 4  # width of the MLP over that of its input; V-JEPA
_HEAD_CHANNELS = 64


class AttentivePooling(nn.Module):
    """Pool a float32 map, N x C x T x H x W, to N x C. Tokens are given as a map L x 1 x 1."""

    def __init__(self, channels: int, heads: int, generator: torch.Generator) -> None:
        """`heads` must divide `channels`. All weights are drawn from the generator."""
        super().__init__()
        self.heads = heads
        self.query = nn.Parameter(torch.empty(1, 1, channels))
        self.norm = nn.LayerNorm(channels)
        self.to_query = nn.Linear(channels, channels)
        self.to_key = nn.Linear(channels, channels)
        self.to_value = nn.Linear(channels, channels)
        self.project = nn.Linear(channels, channels)
        self.mlp_norm = nn.LayerNorm(channels)
        self.widen = nn.Linear(channels, _WIDER * channels)
        self.narrow = nn.Linear(_WIDER * channels, channels)
        nn.init.trunc_normal_(self.query, std=_SPREAD, generator=generator)
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=_SPREAD, generator=generator)
                nn.init.zeros_(layer.bias)
        with torch.no_grad():
            for last in (self.project, self.narrow):  # the last layers of the two residual branches
                last.weight.div_(math.sqrt(2))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        positions = self.norm(features.flatten(2).mT)  # N x L x C
        query = self.query.expand(len(positions), -1, -1)
        pooled: torch.Tensor = query + self.project(self._attend(query, positions))
        pooled = pooled + self.narrow(gelu(self.widen(self.mlp_norm(pooled))))
        return pooled.squeeze(1)

    def _attend(self, query: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Attention of the query (N x 1 x C) to the positions (N x L x C); returns N x 1 x C."""
        queries, keys, values = (
            layer(x)
            .unflatten(2, (self.heads, -1))
            .transpose(1, 2)  # N x heads x 1 or L x C / heads
            for layer, x in (
                (self.to_query, query),
                (self.to_key, positions),
                (self.to_value, positions),
            )
        )
        scores = queries @ keys.mT / math.sqrt(queries.shape[-1])
        attended: torch.Tensor = scores.softmax(dim=-1) @ values
        return attended.transpose(1, 2).flatten(2)


def heads_for(channels: int, heads: int) -> int:
    """The number of attention heads: `heads`, or for 0 one per 64 channels, or the next smaller
    divisor of the channels. Raises EvaluateError if `heads` does not divide them."""
    if heads:
        if channels % heads:
            few = [n for n in range(1, channels + 1) if channels % n == 0][:8]
            raise EvaluateUsageError(
                f"heads is {heads}, which does not divide the {channels} channels of the features. "
                f"Pass --set classifier.heads={', '.join(map(str, few))}, or another divisor; 0 "
                "chooses one."
            )
        return heads
    most = max(1, channels // _HEAD_CHANNELS)
    return next(n for n in range(most, 0, -1) if channels % n == 0)
