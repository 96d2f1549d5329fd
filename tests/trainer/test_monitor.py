import pytest
import torch
from torch.nn.functional import normalize

from trainer.monitor import embedding_std, healthy_std


def test_spread_embeddings_are_healthy_and_equal_ones_are_not():
    spread = normalize(torch.randn(4000, 64), dim=1)
    assert embedding_std(spread) == pytest.approx(healthy_std(64), rel=0.02)
    assert embedding_std(spread[:1].expand(100, -1)) == pytest.approx(0, abs=1e-6)
    assert embedding_std(spread[:1]) == 0.0
