import pytest
import torch
from torch import nn

from trainer.sync_batch_norm import CpuSyncBatchNorm, synchronise


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("tracked", [True, False])
def test_a_batch_norm_without_weights_or_statistics_keeps_its_kind(affine, tracked, monkeypatch):
    """Those of a user's encoder may have neither. With two ranks of equal shares, sums double, and
    so does the count."""
    model = nn.Sequential(nn.BatchNorm3d(4, affine=affine, track_running_stats=tracked))
    clips = torch.randn(3, 4, 2, 5, 5, generator=torch.Generator().manual_seed(0))
    expected = model.train()(clips)
    synced = synchronise(model, torch.device("cpu"))
    assert isinstance(synced[0], CpuSyncBatchNorm)
    assert synced.state_dict().keys() == model.state_dict().keys()
    monkeypatch.setattr("trainer.sync_batch_norm.world", lambda: 2)
    monkeypatch.setattr("torch.distributed.all_reduce", lambda total: total.mul_(2))
    assert torch.allclose(synced.train()(clips), expected, atol=1e-6)
