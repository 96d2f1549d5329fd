import json
import re
import shlex
import sys
from dataclasses import dataclass
from math import prod
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests import foreign_networks
from trainer.backbones.all_backbones import BACKBONES, make_backbone
from trainer.errors import TrainerError
from trainer.weights.foreign import rename
from trainer.weights.load import backbone_from_file, load_weights
from trainer.weights.read import read_tensors

Tensors = dict[str, Tensor]

# Names and shapes, from the projects' code: convolutions (with a bias where `biased`), batch norms
# (of five tensors each) and gates of the backbone; what stands before their names, in what the file
# is nested, what copies of the network there are, and what is beside it.
KEYS = json.loads((Path(__file__).parent / "foreign_keys.json").read_text())


@dataclass(frozen=True)
class Case:
    backbone: str
    project: str  # "" where their names are ours
    clip: tuple[int, int]  # frames and size of the clip that networks are compared on
    plain: str = ""  # ours of the same shapes, in which the weights would compute something else


CASES = {
    "rspnet-resnet18": Case("resnet18-hara", "RSPNet", (16, 64)),
    "rspnet-c3d": Case("c3d", "", (16, 32)),
    "rspnet-r2plus1d": Case("r2plus1d-vcop", "RSPNet", (9, 33)),
    "rspnet-s3dg": Case("s3dg-rspnet", "RSPNet", (16, 64), "s3dg"),
    "coclr-s3d": Case("s3d-coclr", "CoCLR", (16, 64), "s3d"),
    "tclr-r3d18": Case("r3d18-tclr", "TCLR", (9, 33), "r3d18"),
}
every_layout = pytest.mark.parametrize("layout", CASES)


def shapes_of(layout: str) -> dict[str, tuple[int, ...]]:
    """The backbone's tensors by their names, without prefix and once each."""
    keys = KEYS[layout]
    shapes: dict[str, tuple[int, ...]] = {}
    for name, shape in (keys["convolutions"] | keys.get("gates", {})).items():
        shapes[f"{name}.weight"] = tuple(shape)
        if keys.get("biased") or name in keys.get("gates", {}):
            shapes[f"{name}.bias"] = (shape[0],)
    for name, channels in keys["norms"].items():
        shapes |= norm_shapes(name, channels)
    return shapes


def norm_shapes(name: str, channels: int) -> dict[str, tuple[int, ...]]:
    kinds = ("weight", "bias", "running_mean", "running_var")
    return {f"{name}.{kind}": (channels,) for kind in kinds} | {f"{name}.num_batches_tracked": ()}


def constants(shapes: dict[str, tuple[int, ...]], first: float = 1) -> Tensors:
    """Of each shape a tensor of one number, another for each, which is all that is stored of it."""
    return {n: torch.tensor(first + i).expand(s) for i, (n, s) in enumerate(shapes.items())}


def twins(layout: str, tensors: Tensors) -> Tensors:
    """The same tensors under the second names that the file has for them."""
    seconds = KEYS[layout].get("twins", {})
    split = {name: name.partition(".") for name in tensors}
    return {
        f"{seconds[part]}.{rest}": tensors[name]
        for name, (part, _, rest) in split.items()
        if part in seconds
    }


def content_of(layout: str, tensors: Tensors) -> dict[str, object]:
    """What the project would save: with prefixes, copies, heads and queues, nested."""
    keys = KEYS[layout]
    state: Tensors = {}
    for prefix in (*keys["copies"], keys["prefix"]):  # the copies first
        if prefix != keys["prefix"]:
            network = {name: torch.tensor(-1.0).expand(t.shape) for name, t in tensors.items()}
        else:
            network = tensors
        both = twins(layout, network) | network
        state |= {f"{prefix}{name}": tensor for name, tensor in both.items()}
    beside = {name: tuple(shape) for name, shape in keys["beside"].items()}
    for name, channels in keys.get("beside_norms", {}).items():
        beside |= norm_shapes(name, channels)
    return {"epoch": 200, keys["nest"]: state | constants(beside, -1e4), "optimizer": {"state": {}}}


def written(path: Path, layout: str, tensors: Tensors | None = None) -> Path:
    """A file as the project writes it; each tensor of the backbone holds a number of its own."""
    torch.save(content_of(layout, tensors or constants(shapes_of(layout))), path)
    return path


def random_tensors(layout: str) -> Tensors:
    """float64 tensors of sizes as trained networks have them."""
    torch.manual_seed(3)
    tensors: Tensors = {}
    for name, shape in shapes_of(layout).items():
        if name.endswith("num_batches_tracked"):
            tensors[name] = torch.tensor(7)
        elif len(shape) == 5:
            tensors[name] = torch.randn(shape, dtype=torch.float64) * (2 / prod(shape[1:])) ** 0.5
        elif name.endswith(("running_var", "weight")):
            tensors[name] = torch.rand(shape, dtype=torch.float64) + 0.5
        else:
            tensors[name] = torch.randn(shape, dtype=torch.float64) * 0.1
    return tensors


@every_layout
def test_a_file_loads_whole_and_each_tensor_once(tmp_path, layout):
    case, shapes = CASES[layout], shapes_of(layout)
    path = written(tmp_path / "x.pth.tar", layout)
    backbone, found, name = backbone_from_file(path)
    assert name == case.backbone
    assert found.loaded == found.expected == len(shapes) == len(backbone.state_dict())
    note = f"{case.project} layout; " if case.project else ""
    start = f"loaded {len(shapes)}/{len(shapes)} tensors of {path} ({note}prefix "
    assert found.text().startswith(f"{start}{KEYS[layout]['prefix']}; ")
    numbers = [tensor.unique().tolist() for tensor in backbone.state_dict().values()]
    assert sorted(numbers) == [[i + 1.0] for i in range(len(shapes))]  # and none of the copies


@pytest.mark.slow
@every_layout
def test_it_computes_what_their_network_does(layout):
    case, tensors = CASES[layout], random_tensors(layout)
    frames, size = case.clip
    clips = torch.randn(1, 3, frames, size, size, dtype=torch.float64)
    network = getattr(foreign_networks, layout.replace("-", "_"))
    backbone = make_backbone(case.backbone).double().eval()
    content = content_of(layout, tensors)[KEYS[layout]["nest"]]
    prefix = KEYS[layout]["prefix"]
    ours, _ = rename(content)
    backbone.load_state_dict({name: ours[prefix + name] for name in backbone.state_dict()})
    with torch.inference_mode():
        theirs, features = network(tensors, clips), backbone(clips)
        assert theirs.std() > 0.01 and theirs.shape[1] == backbone.channels
        torch.testing.assert_close(features, theirs, rtol=1e-9, atol=1e-9)
        if case.plain:
            plain = make_backbone(case.plain).double().eval()
            values = backbone.state_dict().values()
            by_shape = dict(zip(plain.state_dict(), values, strict=True))
            plain.load_state_dict(by_shape)
            other = plain(clips).mean(dim=(2, 3, 4))
            assert not torch.allclose(other, theirs.mean(dim=(2, 3, 4)), rtol=1e-3)


@pytest.mark.parametrize("layout", [name for name, case in CASES.items() if case.plain])
def test_it_is_not_loaded_into_the_network_of_the_same_shapes(tmp_path, layout):
    case = CASES[layout]
    path = written(tmp_path / "x.pth", layout)
    with pytest.raises(TrainerError, match=f"fits {case.backbone} fully: --set model.backbone="):
        load_weights(make_backbone(case.plain), path)
    with pytest.raises(TrainerError, match=f"fully: --backbone {case.backbone}."):
        backbone_from_file(path, case.plain)
    torch.save(make_backbone(case.plain).half().state_dict(), tmp_path / "plain.pth")
    with pytest.raises(TrainerError, match=f"fits {case.plain} fully"):
        load_weights(make_backbone(case.backbone), tmp_path / "plain.pth")


@every_layout
def test_a_file_that_lacks_a_tensor_is_refused(tmp_path, layout):
    case, tensors = CASES[layout], constants(shapes_of(layout))
    if layout == "rspnet-s3dg":
        ungated = {name: t for name, t in tensors.items() if ".excitation." not in name}
        with pytest.raises(TrainerError, match="fit none of"):
            backbone_from_file(written(tmp_path / "ungated.pth", layout, ungated))
    lost = next(name for name in reversed(tensors) if name.endswith("running_mean"))
    del tensors[lost]
    path = written(tmp_path / "x.pth", layout, tensors)
    with pytest.raises(TrainerError, match=r"holds no backbone of this version: .* fit none of"):
        backbone_from_file(path)
    backbone = make_backbone(case.backbone)
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    expected = f"fits {len(before) - 1} of the backbone's {len(before)} tensors"
    with pytest.raises(TrainerError, match=f"{expected}.*missing are .*running_mean"):
        load_weights(backbone, path)
    assert all(torch.equal(t, before[name]) for name, t in backbone.state_dict().items())


@pytest.mark.parametrize(
    ("layout", "more", "ours"),
    [
        # the third block of a ResNet-34; gates of CoCLR's S3D-G; a second block of R(2+1)D
        ("rspnet-resnet18", "layer1.2.conv1.weight", "layer1.2.conv1.0.weight"),
        ("coclr-s3d", "Mixed_3b.gating_b0.fc.weight", "blocks.5.gating_b0.fc.weight"),
        ("rspnet-r2plus1d", "conv2.blocks.0.bn1.weight", "layer1.blocks.0.conv1.1.weight"),
    ],
)
def test_a_network_with_more_parts_is_refused(tmp_path, layout, more, ours):
    tensors = constants(shapes_of(layout) | {more: (64,)})
    path = written(tmp_path / "x.pth", layout, tensors)
    with pytest.raises(TrainerError, match="fit none of"):
        backbone_from_file(path)
    match = rf"the backbone lacks {re.escape(KEYS[layout]['prefix'] + ours)}.* of another network"
    with pytest.raises(TrainerError, match=match):
        load_weights(make_backbone(CASES[layout].backbone), path)


def test_names_of_a_2d_resnet_are_left_alone():
    shapes = {name: s[:2] + s[3:] for name, s in shapes_of("rspnet-resnet18").items()}
    tensors = constants(shapes)
    assert rename(tensors) == (tensors, "")


@pytest.mark.parametrize("name", BACKBONES)
def test_our_own_names_stay(tmp_path, name):
    with torch.device("meta"):
        shapes = {n: tuple(t.shape) for n, t in make_backbone(name).state_dict().items()}
    tensors = constants(shapes)
    renamed, project = rename(tensors)
    assert list(renamed) == list(tensors) and project == ""
    torch.save({"model": {f"encoder.backbone.{n}": t for n, t in tensors.items()}}, tmp_path / "x")
    assert backbone_from_file(tmp_path / "x")[2] == name


@pytest.mark.parametrize(
    ("layout", "prefix", "head"),
    [
        ("rspnet-resnet18", "", {"fc.weight": (101, 512)}),  # fine-tuned, or Hara's own
        ("rspnet-s3dg", "module.encoder.", {"module.fc.weight": (101, 1024)}),
        ("coclr-s3d", "backbone.", {"final_fc.0.weight": (101, 1024)}),
        ("tclr-r3d18", "0.", {"1.fc1.weight": (512, 512), "1.fc2.weight": (128, 512)}),
    ],
)
def test_other_files_of_the_projects(tmp_path, layout, prefix, head):
    if layout == "tclr-r3d18":  # what one GPU saves
        head |= norm_shapes("1.bn1", 512) | norm_shapes("1.bn2", 128)
    network = constants(shapes_of(layout))
    state = {f"{prefix}{name}": t for name, t in (twins(layout, network) | network).items()}
    torch.save({"state_dict": constants(head) | state}, tmp_path / "x.pth")
    _, found, name = backbone_from_file(tmp_path / "x.pth")
    assert (name, found.project) == (CASES[layout].backbone, CASES[layout].project)
    assert found.prefix == prefix and found.unused == tuple(head)


def test_second_names_will_do(tmp_path):
    """A file that keeps one name of each tensor may keep either."""
    tensors = constants(shapes_of("coclr-s3d"))
    kept = {n: t for n, t in tensors.items() if n.startswith(("Conv_1a", "Mixed_5c"))}
    torch.save(twins("coclr-s3d", tensors) | kept, tmp_path / "x.pth")
    assert backbone_from_file(tmp_path / "x.pth")[2] == "s3d-coclr"


def test_tclr_saves_its_scaler_so_it_is_converted_first(tmp_path, monkeypatch):
    content = content_of("tclr-r3d18", constants(shapes_of("tclr-r3d18")))
    path = tmp_path / "model_best.pth"
    torch.save(content | {"amp_scaler": torch.amp.GradScaler("cpu")}, path)
    with pytest.raises(TrainerError, match=r"so it is refused\. If you trust it") as caught:
        read_tensors(path)
    _, _, code, *files = shlex.split(str(caught.value).partition(" instead: ")[2])
    monkeypatch.setattr(sys, "argv", ["-c", *files])
    exec(code, {})  # test_load.py runs such a command by a shell
    assert backbone_from_file(tmp_path / "model_best.weights.pt")[2] == "r3d18-tclr"
