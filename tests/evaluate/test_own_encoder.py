"""Encoders of others: what they get, what is taken of what they give, and what is refused."""

from pathlib import Path

import pytest
import torch
from torch import nn

import ascnet
from evaluate.errors import EvaluateError
from evaluate.features.encode import Pooled, to_device
from evaluate.own_encoder import SHAPES, Encoder, EncoderNetwork
from trainer.data.augment import square_crop
from trainer.data.packed_clips import PackedClips

FILE = Path("nets.py")
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)


class Net(nn.Module):
    """Gives what it is told to; a map, unless said otherwise."""

    def __init__(self, gives: str = "map") -> None:
        super().__init__()
        self.gives = gives
        self.conv = nn.Conv3d(3, 5, 3, stride=2)

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        x = self.conv(clips)
        return {"map": x, "features": x.amax((2, 3, 4)), "tokens": x.flatten(2).mT}[self.gives]


class Gives(nn.Module):
    """Calls a function with the clips."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, clips: torch.Tensor) -> object:
        return self.function(clips)


def pooled(encoder: Encoder, layer: str = "last", pooling: str = "average") -> Pooled:
    network = Pooled(EncoderNetwork(encoder.module, encoder, "nets.py:net", FILE), layer, pooling)
    to_device(network, torch.device("cpu"))
    return network


@pytest.fixture
def frames() -> torch.Tensor:
    """uint8, N x T x S x S x 3: no crop is needed."""
    return torch.randint(256, (2, 4, 16, 16, 3), dtype=torch.uint8)


def features(network: nn.Module, frames: torch.Tensor) -> torch.Tensor:
    """As they are computed for a store."""
    clips = square_crop(PackedClips.of(frames), frames.shape[2])
    with torch.inference_mode():
        return network(clips.contiguous(memory_format=torch.channels_last_3d))


def prepared(frames: torch.Tensor, low: float, high: float) -> torch.Tensor:
    """What the module's author would give it."""
    values = frames.permute(0, 4, 1, 2, 3) / 255 * (high - low) + low
    mean, std = (torch.tensor(x).view(3, 1, 1, 1) for x in (MEAN, STD))
    return (values - mean) / std


@pytest.mark.parametrize(
    ("gives", "token", "of"),
    [
        ("features", False, lambda out: out),
        ("map", False, lambda out: out.mean((2, 3, 4))),
        ("tokens", False, lambda out: out.mean(1)),
        ("tokens", True, lambda out: out[:, 0]),
    ],
)
@pytest.mark.parametrize(("low", "high"), [(0, 1), (-1, 1), (0, 255)])
def test_features_are_those_of_the_module(frames, gives, token, of, low, high) -> None:
    net = Net(gives).eval()
    how = {"value_range": (low, high), "mean": MEAN, "std": STD}
    encoder = Encoder(net, frames=4, size=16, gives=gives, class_token=token, **how)
    with torch.inference_mode():
        wanted = of(net(prepared(frames, low, high)))
    assert wanted.shape == (2, 5)
    assert torch.allclose(features(pooled(encoder), frames), wanted, rtol=1e-5, atol=1e-5)


def test_all_tokens_are_there_to_attend_to(frames) -> None:
    """With a class token, too; the network's map as it is, features as one position."""
    net = Net("tokens").eval()
    how = {"frames": 4, "size": 16, "mean": MEAN, "std": STD}
    network = pooled(Encoder(net, gives="tokens", class_token=True, **how))
    clips = square_crop(PackedClips.of(frames), 16)
    with torch.inference_mode():
        tokens = network.positions(clips)
        assert torch.allclose(tokens[..., 0, 0].mT, net(prepared(frames, 0, 1)), atol=1e-5)
        assert torch.equal(tokens[:, :, 0, 0, 0], network(clips))
        net.gives = "map"
        whole = pooled(Encoder(net, gives="map", **how)).positions(clips)
        assert torch.equal(whole.flatten(2), tokens[..., 0, 0])


def test_a_layer_and_the_largest_value(frames) -> None:
    encoder = Encoder(nn.Sequential(Net(), nn.ReLU()), frames=4, size=16, gives="map")
    before, after = (features(pooled(encoder, layer, "max"), frames) for layer in ("0", "last"))
    assert torch.equal(before.relu(), after) and not torch.equal(before, after)
    with pytest.raises(EvaluateError, match=r"no layer 'stem'\. Its layers include 0, 1; last is"):
        pooled(encoder, "stem")


def test_it_gets_clips_as_they_lie_in_memory_by_default(frames) -> None:
    def flat(clips: torch.Tensor) -> torch.Tensor:
        assert clips.is_contiguous() and clips.dtype == torch.float32
        return clips.view(len(clips), -1)

    features(pooled(Encoder(Gives(flat), frames=4, size=16)), frames)


def test_layouts_of_weights_stay(frames) -> None:
    """An image network has weights that no layout for videos fits."""
    image = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())

    class FirstFrame(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.image, self.video = image, nn.Conv3d(3, 4, 3)

        def forward(self, clips: torch.Tensor) -> torch.Tensor:
            return self.image(clips[:, :, 0])

    network = FirstFrame()
    assert features(pooled(Encoder(network, frames=4, size=16)), frames).shape == (2, 4)
    assert network.video.weight.is_contiguous()


@pytest.mark.parametrize(
    ("gives", "function", "said"),
    [
        ("features", lambda x: x.mean((3, 4)), "gives float32 2 x 3 x 4 for 2 clips"),
        ("features", lambda x: x.mean((0, 2, 3, 4)), "gives float32 3 for 2 clips"),
        ("features", lambda x: x.mean((3, 4)).flatten(0, 1), "gives float32 6 x 4 for 2 clips"),
        ("features", lambda x: x[:, 0, 0, 0].long(), "gives int64 2 x 16 for 2 clips"),
        ("features", lambda x: x[:, 0, 0, 0, :0], "gives float32 2 x 0 for 2 clips"),
        ("map", lambda x: x.mean(2), "gives float32 2 x 3 x 16 x 16 for 2 clips"),
        ("tokens", lambda x: x.mean((2, 3, 4)), "gives float32 2 x 3 for 2 clips"),
        ("tokens", lambda x: {"x": x}, "gives a dict for 2 clips"),
    ],
)
def test_a_wrong_shape(frames, gives: str, function, said: str) -> None:
    network = pooled(Encoder(Gives(function), frames=4, size=16, gives=gives))
    with pytest.raises(EvaluateError) as caught:
        features(network, frames)
    assert f"nets.py:net {said}" in str(caught.value)
    assert f"it must return a float tensor {SHAPES[gives]} with N = 2" in str(caught.value)


def test_a_module_that_raises(frames) -> None:
    network = pooled(Encoder(nn.Conv3d(4, 2, 3), frames=4, size=16))
    said = r"^nets\.py:net cannot encode clips of 2 x 3 x 4 x 16 x 16: RuntimeError: .*channels"
    with pytest.raises(EvaluateError, match=said):
        features(network, frames)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"module": len}, "module is a builtin_function_or_method; it takes a torch.nn.Module"),
        ({"untrained": 3}, "untrained is a int; it takes a torch.nn.Module"),
        ({"frames": 0}, "frames is 0; allowed: 1 to"),
        ({"frames": 8.0}, "frames is 8.0; it takes a whole number"),
        ({"size": 8}, "size is 8; allowed: 16 to"),
        ({"fps": "25"}, "fps is '25'; it takes a number"),
        ({"stride": True}, "stride is True; it takes a whole number"),
        ({"mean": 0.5}, "mean is 0.5; it takes 3 finite numbers"),
        ({"std": (1, 1)}, "std is (1, 1); it takes 3 finite numbers"),
        ({"std": (1, 0, 1)}, "std is (1.0, 0.0, 1.0); allowed: three positive numbers"),
        ({"value_range": (255, 0)}, "value_range is (255.0, 0.0); allowed: the smaller value"),
        ({"gives": "logits"}, "gives is 'logits'; allowed: features, map or tokens"),
        ({"class_token": True}, "class_token is True; allowed: False, unless `gives` is 'tokens'"),
    ],
)
def test_a_field_that_is_wrong(wrong: dict, said: str) -> None:
    with pytest.raises(EvaluateError) as caught:
        ascnet.Encoder(**{"module": Net(), "frames": 4, "size": 16} | wrong)
    assert str(caught.value).startswith(said)
