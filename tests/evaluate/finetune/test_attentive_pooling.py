import math

import pytest
import torch
from torch import nn
from torch.nn.functional import gelu, layer_norm

from evaluate.errors import EvaluateError
from evaluate.finetune.attentive_pooling import AttentivePooling, heads_for

CHANNELS, HEADS = 12, 3


def pooling(seed: int = 0) -> AttentivePooling:
    return AttentivePooling(CHANNELS, HEADS, torch.Generator().manual_seed(seed))


@pytest.fixture
def features() -> torch.Tensor:
    return torch.randn(2, CHANNELS, 2, 3, 4, generator=torch.Generator().manual_seed(1))


def test_it_is_torch_s_attention_in_a_residual_block(features):
    pool = pooling()
    with torch.no_grad():
        for (
            weight
        ) in pool.parameters():  # so that every bias and norm counts, and attention is not even
            weight.add_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(2)))
    parts = (pool.to_query, pool.to_key, pool.to_value)
    attention = nn.MultiheadAttention(CHANNELS, HEADS, batch_first=True)
    attention.in_proj_weight = nn.Parameter(torch.cat([part.weight for part in parts]))
    attention.in_proj_bias = nn.Parameter(torch.cat([part.bias for part in parts]))
    attention.out_proj = pool.project
    tokens = features.flatten(2).transpose(1, 2)
    normed = layer_norm(tokens, (CHANNELS,), pool.norm.weight, pool.norm.bias)
    query = pool.query.expand(2, 1, CHANNELS)
    one = query + attention(query, normed, normed)[0]
    hidden = layer_norm(one, (CHANNELS,), pool.mlp_norm.weight, pool.mlp_norm.bias)
    wanted = one + pool.narrow(gelu(pool.widen(hidden)))
    assert torch.allclose(pool(features), wanted[:, 0], rtol=1e-5, atol=1e-5)
    assert pool.widen.out_features == 4 * CHANNELS


def test_where_a_position_lies_does_not_matter(features):
    pool, order = pooling(), torch.randperm(24, generator=torch.Generator().manual_seed(3))
    tokens = features.flatten(2)[:, :, :, None, None]
    assert torch.allclose(pool(features), pool(tokens[:, :, order]), atol=1e-6)


def test_weights_begin_as_the_seed_says():
    pool, again, other = pooling(), pooling(), pooling(1)
    for (name, one), two, three in zip(
        pool.named_parameters(), again.parameters(), other.parameters(), strict=True
    ):
        assert torch.equal(one, two)
        if name.endswith("bias"):
            assert not one.any()
        elif "norm" in name:
            assert torch.equal(one, torch.ones(CHANNELS))
        else:
            assert not torch.equal(one, three)
            less = math.sqrt(2) if name in ("project.weight", "narrow.weight") else 1
            assert float(one.detach().std()) == pytest.approx(
                0.02 / less, rel=0.6 if name == "query" else 0.2
            )


@pytest.mark.parametrize(
    ("channels", "heads", "wanted"),
    [(1024, 0, 16), (768, 0, 12), (64, 0, 1), (6, 0, 1), (800, 0, 10), (127, 0, 1), (12, 4, 4)],
)
def test_how_many_heads(channels, heads, wanted):
    assert heads_for(channels, heads) == wanted


def test_heads_that_do_not_divide_the_channels():
    said = r"heads is 5, which does not divide the 12 channels.*classifier\.heads=1, 2, 3, 4, 6, 12"
    with pytest.raises(EvaluateError, match=said):
        heads_for(12, 5)
