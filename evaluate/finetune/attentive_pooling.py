"""The attentive probe's pooling: a learnt query attends to the positions of a frozen network's map.

V-JEPA's (Bardes et al. 2024, "Revisiting Feature Prediction for Learning Visual Representations
from Video", and its code's `AttentivePooler` at depth 1): one query; keys and values from the
layer-normed positions, the query itself not normed; a residual connection around the attention,
and one around layer norm and MLP (GELU, 4 times as wide); how weights begin; weight decay on the
query and the matrices alone.

Ours: where the number of heads is not said, one for every 64 channels (V-JEPA takes that of its
encoder: 64 channels a head in ViT-L); computed in float32 whatever the network's precision; one
clip at a time, the logits of a video's clips averaged (V-JEPA attends to all clips of a video
together). The linear layer behind it begins as that of the linear probe does.

No position is added. V-JEPA's tokens carry theirs from the encoder, and so do those of other
transformers; what is at a position of a 3D-CNN's map tells a class wherever it is, as with average
pooling.
"""

import math

import torch
from torch import nn
from torch.nn.functional import gelu

from evaluate.errors import EvaluateUsageError

_SPREAD = 0.02  # standard deviation of the first weights; V-JEPA
_WIDER = 4  # the MLP; V-JEPA
_HEAD_CHANNELS = 64


class AttentivePooling(nn.Module):
    """float32 map N x C x T x H x W to N x C; tokens are a map L x 1 x 1."""

    def __init__(self, channels: int, heads: int, generator: torch.Generator) -> None:
        """`heads`: a divisor of the channels. All weights come from the generator."""
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
            for last in (self.project, self.narrow):  # of what is added to the query
                last.weight.div_(math.sqrt(2))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        positions = self.norm(features.flatten(2).mT)  # N x L x C
        query = self.query.expand(len(positions), -1, -1)
        pooled: torch.Tensor = query + self.project(self._attend(query, positions))
        pooled = pooled + self.narrow(gelu(self.widen(self.mlp_norm(pooled))))
        return pooled.squeeze(1)

    def _attend(self, query: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """N x 1 x C and N x L x C to N x 1 x C."""
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
    """How many heads attend: `heads`, or for 0 as many as have 64 channels each, or more where 64
    does not divide the channels. Raises EvaluateError if `heads` does not."""
    if heads:
        if channels % heads:
            few = [n for n in range(1, channels + 1) if channels % n == 0][:8]
            raise EvaluateUsageError(
                f"heads is {heads}, which does not divide the {channels} channels of the features. "
                f"Say --set classifier.heads={', '.join(map(str, few))}, or another divisor; 0 "
                "chooses one."
            )
        return heads
    most = max(1, channels // _HEAD_CHANNELS)
    return next(n for n in range(most, 0, -1) if channels % n == 0)
