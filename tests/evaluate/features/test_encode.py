from dataclasses import replace

import pytest
import torch

from evaluate.errors import EvaluateError
from evaluate.features.encode import UNIT, Pooled, Reading, encode
from evaluate.protocol import Protocol, clips_of
from trainer.backbones.all_backbones import make_backbone
from trainer.data.augment import square_crop
from trainer.data.clip_reader import ClipReader, read_batches

CPU = torch.device("cpu")
PROTOCOL = Protocol(frames=4, stride=1, size=16, clips=3)


def means(clips: torch.Tensor) -> torch.Tensor:
    """Colours of a clip, as a network that is easy to foretell."""
    return clips.mean(dim=(2, 3, 4))


def outputs(videos, protocol, **options) -> dict[int, torch.Tensor]:
    return dict(encode(means, videos, protocol, CPU, **options))


def test_every_clip_of_every_video_in_order(dataset):
    videos = dataset.videos
    units = outputs(videos, PROTOCOL)
    assert list(units) == [0, UNIT] and all(len(unit) == 3 * UNIT for unit in units.values())
    for number in (0, 5, 11):
        batch = next(read_batches(ClipReader(videos), [clips_of(videos, PROTOCOL)[number]]))
        start = 3 * (number % UNIT)
        output = units[number // UNIT * UNIT][start : start + 3]
        assert torch.allclose(output, means(square_crop(batch.clips, 16)), atol=1e-5)


def test_some_units_alone(dataset):
    every = outputs(dataset.videos, PROTOCOL)
    rest = outputs(dataset.videos, PROTOCOL, units=[UNIT])
    assert list(rest) == [UNIT] and torch.equal(rest[UNIT], every[UNIT])


def test_small_batches_give_all_clips(dataset, monkeypatch):
    every = outputs(dataset.videos, PROTOCOL)
    monkeypatch.setattr("evaluate.features.batches._HOST_BYTES_CPU", 1)
    alone = outputs(dataset.videos, PROTOCOL)
    assert all(torch.allclose(alone[first], every[first], atol=1e-6) for first in every)


def test_alone_a_video_does_not_depend_on_the_others(dataset):
    """Of a network whose outputs depend on the batch, as a convolution's last bits may."""

    def counting(clips: torch.Tensor) -> torch.Tensor:
        return means(clips) + len(clips)

    def alone(videos):
        reading = Reading(alone=True)
        return torch.cat([o for _, o in encode(counting, videos, PROTOCOL, CPU, reading)])

    every = alone(dataset.videos)
    assert torch.equal(alone(dataset.videos[5:6]), every[15:18])


def test_three_crops_are_averaged(dataset):
    videos = dataset.videos[:1]
    three = Protocol(frames=4, size=16, clips=1, crops=3)
    batch = next(read_batches(ClipReader(videos), clips_of(videos, three)))
    places = [means(square_crop(batch.clips, 16, p)) for p in (0.0, 0.5, 1.0)]
    assert not torch.allclose(places[0], places[2], atol=1e-3)
    expected = torch.stack(places).mean(dim=0)
    assert torch.allclose(outputs(videos, three)[0], expected, atol=1e-6)


def test_a_mirror_image_counts_as_much(dataset):
    """Features of a clip and of its mirror image are then the same."""
    videos = dataset.videos[:1]
    mirrored = Protocol(frames=4, size=16, clips=1, crops=3, mirrored=True)

    def left(crop: torch.Tensor) -> torch.Tensor:
        return crop[..., :4].mean(dim=(2, 3, 4))

    def right(crop: torch.Tensor) -> torch.Tensor:
        return crop[..., -4:].mean(dim=(2, 3, 4))

    plain = replace(mirrored, mirrored=False)
    one, two, without = (
        next(encode(network, videos, protocol, CPU))[1]
        for network, protocol in ((left, mirrored), (right, mirrored), (left, plain))
    )
    assert torch.allclose(one, two, atol=1e-6)
    assert not torch.allclose(without, one, atol=1e-3)


@pytest.mark.parametrize("mirrored", [False, True])
def test_quarter_turns_count_as_much(dataset, mirrored):
    """Features of a clip turned in any way, and with mirror images in any of 8 ways, are the
    same."""
    videos = dataset.videos[:1]
    turned = Protocol(frames=4, size=16, clips=1, mirrored=mirrored, turned=True)

    def corner(crop: torch.Tensor) -> torch.Tensor:
        return crop[..., :4, 2:8].mean(dim=(2, 3, 4))

    def seen(view, protocol=turned):
        return next(encode(lambda crop: corner(view(crop)), videos, protocol, CPU))[1]

    upright = seen(lambda crop: crop)
    for quarters in (1, 2, 3):
        assert torch.allclose(seen(lambda crop, q=quarters: crop.rot90(q, (-2, -1))), upright)
    assert torch.allclose(seen(lambda crop: crop.flip(-1)), upright) == mirrored
    plain = replace(turned, turned=False)
    turn = seen(lambda crop: crop.rot90(1, (-2, -1)), plain)
    assert not torch.allclose(turn, seen(lambda crop: crop, plain), atol=1e-3)


@pytest.mark.parametrize("pooling", ["average", "max"])
@pytest.mark.parametrize("layer, channels", [("last", 128), ("layer3", 64), ("layer1.0", 16)])
def test_a_layer_pooled(layer, channels, pooling):
    backbone = make_backbone("r3d-tiny").eval()
    pooled = Pooled(backbone, layer, pooling)
    assert pooled.channels(Protocol(frames=4, size=16), CPU) == channels
    clips = torch.randn(2, 3, 4, 16, 16)
    with torch.inference_mode():
        features = pooled(clips)
        if layer == "layer3":
            x = backbone.layer3(backbone.layer2(backbone.layer1(backbone.stem(clips))))
            flat = x.flatten(2)
            expected = flat.mean(2) if pooling == "average" else flat.amax(2)
            assert torch.allclose(features, expected)
    assert features.shape == (2, channels)


@pytest.mark.parametrize(
    "backbone, has", [("r3d-tiny", "stem, layer1, layer2"), ("s3d", r"features\.0, features\.1")]
)
def test_a_layer_that_is_not_there(backbone, has):
    with pytest.raises(EvaluateError, match=f"no layer 'head'. Its layers include {has}"):
        Pooled(make_backbone(backbone), "head")


def test_a_layer_is_not_what_follows_makes_of_it():
    """A ReLU that works in place after `stem.1` leaves the features of `stem.1` alone."""
    backbone = make_backbone("r3d-tiny").eval()
    clips = torch.randn(1, 3, 4, 16, 16)
    with torch.inference_mode():
        before = backbone.stem[1](backbone.stem[0](clips)).mean(dim=(2, 3, 4))
        assert torch.allclose(Pooled(backbone, "stem.1")(clips), before)
    assert not backbone.stem[1]._forward_hooks


def test_a_layer_without_a_map():
    with pytest.raises(EvaluateError, match=r"Layer .*fc has an output with 2 dimensions"):
        Pooled(make_backbone("s3dg").eval(), "features.0.2.fc").channels(PROTOCOL, CPU)
