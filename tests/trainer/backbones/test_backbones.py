import pytest
import torch

from tests.trainer.torchvision_shapes import torchvision_shapes
from trainer.backbones.all_backbones import BACKBONES, empty_backbone, make_backbone
from trainer.backbones.base import Backbone
from trainer.backbones.r3d import r3d18
from trainer.errors import TrainerError

TWINS = {"r3d18": "r3d_18", "r2plus1d18": "r2plus1d_18", "s3d": "s3d"}

WEIGHTS = {
    "r3d18": 33_371_472 - (512 * 400 + 400),  # torchvision's figure, less its classifier
    "r3d-tiny": 903_984,
    "r2plus1d18": 31_505_325 - (512 * 400 + 400),  # torchvision's
    "c3d": 27_661_440,
    "s3d": 8_320_048 - (1024 * 400 + 400),  # torchvision's
    "s3dg": 8_675_744,
    "resnet18-hara": 33_166_272 + 3 * 64 * 49 * (7 - 3),  # R3D-18's, and a stem of 7 frames
    "r2plus1d-vcop": 14_365_303,
    "r3d18-tclr": 33_166_272,
    "s3d-coclr": 7_910_048,
    "s3dg-rspnet": 8_675_744,
}


def on_meta(name: str) -> Backbone:
    with torch.device("meta"):
        return make_backbone(name)


def shape_of(name: str, frames: int, size: int) -> tuple[int, ...]:
    clips = torch.empty(2, 3, frames, size, size, device="meta")
    return tuple(on_meta(name)(clips).shape)


def test_weights_counts():
    assert set(WEIGHTS) == set(BACKBONES)
    for name, count in WEIGHTS.items():
        assert sum(p.numel() for p in on_meta(name).parameters()) == count, name


@pytest.mark.parametrize("name", BACKBONES)
def test_nothing_is_drawn_for_weights_that_are_loaded(name, monkeypatch):
    """On the meta device torch would import its compiler for it, which takes seconds."""

    def drawn(*arguments: object, **more: object) -> None:
        raise AssertionError("drawn")

    monkeypatch.setattr(torch.nn.init, "kaiming_normal_", drawn)
    monkeypatch.setattr(torch, "empty_like", drawn)  # imports sympy
    assert all(p.isnan().all() for p in empty_backbone(name).parameters())
    with pytest.raises(AssertionError, match="drawn"):
        make_backbone(name)


def test_gates_are_after_each_temporal_convolution():
    """One, of a weight and a bias, at two places before the nine blocks and at two in each."""
    gated, plain = on_meta("s3dg").state_dict(), on_meta("s3d").state_dict()
    gates = set(gated) - set(plain)
    assert set(plain) <= set(gated)
    assert len(gates) == 2 * (2 + 2 * 9)
    assert {"features.0.2.fc.weight", "features.5.branch1.1.2.fc.bias"} <= gates
    assert sum(gated[gate].numel() for gate in gates) == WEIGHTS["s3dg"] - WEIGHTS["s3d"]


@pytest.mark.parametrize("name", TWINS)
def test_state_dicts_are_torchvision_s(name):
    """Zeros of the shapes of torchvision's own state dict load strictly, less its classifier."""
    twin = torchvision_shapes(TWINS[name])
    zeros = {
        key: torch.zeros(shape, device="meta")
        for key, shape in twin.items()
        if not key.startswith(("fc.", "classifier."))
    }
    assert len(twin) - len(zeros) == 2
    backbone = on_meta(name)
    backbone.load_state_dict(zeros, strict=True)
    assert list(backbone.state_dict()) == list(zeros)  # and in the same order


@pytest.mark.parametrize(
    ("name", "frames", "size", "shape"),
    [
        ("r3d18", 16, 112, (512, 2, 7, 7)),
        ("r3d18", 15, 111, (512, 2, 7, 7)),
        ("r3d-tiny", 8, 40, (128, 1, 3, 3)),
        ("r2plus1d18", 16, 112, (512, 2, 7, 7)),
        ("r2plus1d18", 4, 16, (512, 1, 1, 1)),
        ("c3d", 16, 112, (512, 2, 7, 7)),
        ("c3d", 9, 33, (512, 2, 3, 3)),
        ("c3d", 4, 16, (512, 1, 1, 1)),
        ("s3d", 64, 224, (1024, 8, 7, 7)),
        ("s3dg", 64, 224, (1024, 8, 7, 7)),
        ("s3dg", 16, 224, (1024, 2, 7, 7)),
        ("s3dg", 16, 112, (1024, 2, 3, 3)),  # where torchvision rounds down, too
        ("s3dg", 4, 16, (1024, 1, 1, 1)),
        ("resnet18-hara", 16, 112, (512, 1, 4, 4)),
        ("resnet18-hara", 17, 113, (512, 2, 4, 4)),
        ("r2plus1d-vcop", 16, 112, (512, 2, 7, 7)),
        ("r3d18-tclr", 16, 112, (512, 4, 7, 7)),
        ("r3d18-tclr", 15, 111, (512, 4, 7, 7)),
        ("s3d-coclr", 32, 128, (1024, 4, 4, 4)),
        ("s3dg-rspnet", 16, 224, (1024, 2, 7, 7)),
        ("s3dg-rspnet", 15, 112, (1024, 2, 3, 3)),
    ],
)
def test_output_shapes(name, frames, size, shape):
    assert shape_of(name, frames, size) == (2, *shape)
    assert on_meta(name).channels == shape[0]


@pytest.mark.parametrize("name", BACKBONES)
def test_one_clip_does_not_depend_on_layout_or_company(name):
    """The same features in both memory layouts, and alone or with another clip."""
    backbone = make_backbone(name).eval()
    clips = torch.randn(2, 3, 4, 32, 32)
    last = torch.channels_last_3d
    with torch.inference_mode():
        features = backbone(clips)
        alone = backbone(clips[:1])
        backbone.to(memory_format=last)
        other = backbone(clips.contiguous(memory_format=last))
    assert features.dtype == torch.float32
    assert features.std() > 0
    torch.testing.assert_close(other, features, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(alone, features[:1], rtol=1e-3, atol=1e-5)


def test_r3d18_on_a_real_clip():
    with torch.inference_mode():
        assert r3d18()(torch.zeros(1, 3, 16, 112, 112)).shape == (1, 512, 2, 7, 7)


def test_fresh_weights_stay_as_they_were():
    """A seed gives the weights that it gave when the first runs were made."""
    torch.manual_seed(0)
    weights = make_backbone("r3d-tiny").state_dict()
    assert weights["stem.0.weight"][0, 0, 0, 0, :2].tolist() == pytest.approx(
        [0.01199848, -0.04139461]
    )
    assert weights["layer4.0.downsample.0.weight"].double().sum().item() == pytest.approx(4.621044)


def test_a_backbone_that_is_not_there():
    with pytest.raises(
        TrainerError, match=r"'i3d', which this version does not have; it has r3d18, r3d-tiny"
    ):
        make_backbone("i3d")
