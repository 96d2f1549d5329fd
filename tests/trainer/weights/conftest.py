import pytest
import torch

from tests.trainer.weights.weights import Tensors
from trainer.backbones.all_backbones import make_backbone


@pytest.fixture(scope="module")
def source() -> Tensors:
    """The state dict of an r3d-tiny, 72 entries, 12 of them num_batches_tracked."""
    torch.manual_seed(7)
    return make_backbone("r3d-tiny").state_dict()
