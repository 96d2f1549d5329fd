import pytest
import torch

from trainer.backbones import make_backbone
from trainer.backbones.r3d import r3d18, r3d_tiny
from trainer.errors import TrainerError


def weights(model: torch.nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def test_r3d18_is_torchvision_s():
    """Counts and keys of torchvision 0.25's r3d_18 (33 371 472 weights) less its fc (512 x 400)."""
    model = r3d18()
    assert weights(model) == 33_371_472 - (512 * 400 + 400)
    shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    assert len(shapes) == 120
    assert shapes["stem.0.weight"] == (64, 3, 3, 7, 7)
    assert shapes["stem.1.running_mean"] == (64,)
    assert shapes["layer1.0.conv1.0.weight"] == (64, 64, 3, 3, 3)
    assert shapes["layer1.1.conv2.1.bias"] == (64,)
    assert shapes["layer2.0.downsample.0.weight"] == (128, 64, 1, 1, 1)
    assert shapes["layer4.1.conv2.0.weight"] == (512, 512, 3, 3, 3)
    assert "layer1.0.downsample.0.weight" not in shapes


def test_output_shapes():
    with torch.inference_mode():
        assert r3d18()(torch.zeros(1, 3, 16, 112, 112)).shape == (1, 512, 2, 7, 7)
        assert r3d_tiny()(torch.zeros(2, 3, 8, 40, 40)).shape == (2, 128, 1, 3, 3)
    assert (r3d18().channels, r3d_tiny().channels) == (512, 128)
    assert weights(r3d_tiny()) == 903_984


def test_a_backbone_that_is_not_there():
    with pytest.raises(
        TrainerError, match=r"'s3dg', which this version does not have; it has r3d18"
    ):
        make_backbone("s3dg")
