import argparse
import pickle
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.trainer.weights.weights import Tensors, is_loaded, named, saved
from trainer.backbones.all_backbones import make_backbone
from trainer.errors import TrainerError
from trainer.weights.load import load_weights
from trainer.weights.read import read_tensors


class Settings:
    pass


class Net(torch.nn.Module):
    def __init__(self, source: Tensors) -> None:
        super().__init__()
        self.backbone = make_backbone("r3d-tiny")
        self.backbone.load_state_dict(source)
        self.head = torch.nn.Linear(2, 2)


class AnyName(dict):
    """Settings as many projects keep them."""

    __getattr__ = dict.get


class ItsNames(dict):
    __getattr__ = dict.__getitem__


class Nothing:
    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)


def holding_itself(tensors: Tensors) -> dict[str, object]:
    settings: dict[str, object] = {"own": Settings()}
    settings["self"] = settings["again"] = settings
    return {"settings": settings, "net": tensors}


def convert(path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the refusal of a file says, done in this process; the file that it makes."""
    with pytest.raises(TrainerError) as caught:
        read_tensors(path)
    said = str(caught.value)
    assert "\n" not in said
    python, option, code, *files = shlex.split(said.partition(" instead: ")[2])
    assert (python, option, files[0]) == (sys.executable, "-c", str(path.absolute()))
    monkeypatch.setattr(sys, "argv", ["-c", *files])
    exec(code, {})
    return Path(files[1])


@pytest.mark.parametrize(
    "content",
    [
        lambda t: {"state_dict": t, "args": argparse.Namespace(lr=1)},
        lambda t: {"model": t, "args": Settings()},
        lambda t: {"model_state": {"module." + n: v for n, v in t.items()}, "best": np.float64(3)},
        lambda t: {"args": Settings(), **t},
        lambda t: {
            "a": {"b": [Settings(), {"own": t}]},
            "optimizer": torch.optim.SGD([*t.values()]),
        },
        Net,
        lambda t: torch.nn.DataParallel(Net(t)),
        lambda t: {"net": Net(t), "epoch": 3},
        lambda t: {n: Settings() for n in t} | {"weights": {n: v.numpy() for n, v in t.items()}},
        lambda t: {"state_dict": t, "hyper_parameters": {"optimizer": torch.optim.Adam, "t": dict}},
        lambda t: AnyName(state_dict=t, config=AnyName(lr=1)),
        lambda t: {"net": t, "config": ItsNames(lr=1), "args": Nothing()},
        holding_itself,
        lambda t: {n: v.numpy().astype(v.numpy().dtype.newbyteorder(">")) for n, v in t.items()},
        lambda t: {"net": t, "lr": np.ones(2, np.longdouble), "names": np.array(["a"])},
    ],
)
@pytest.mark.parametrize("how", ["torch", "old torch", "pickle"])
def test_files_to_unpickle_are_refused_with_the_way_out(
    tmp_path, source, monkeypatch, content, how
):
    path = tmp_path / "x.pth.tar"
    with path.open("wb") as file:
        if how == "pickle":
            pickle.dump(content(source), file)
        else:
            torch.save(content(source), file, _use_new_zipfile_serialization=how == "torch")
    converted = convert(path, monkeypatch)
    assert converted == tmp_path / "x.pth.weights.pt"
    backbone = make_backbone("r3d-tiny")
    load_weights(backbone, converted)
    assert is_loaded(backbone, source)


def of_python_2(tensors: Tensors) -> bytes:
    """A pickle of arrays as Python 2 writes it: their numbers are text."""

    def text(content: bytes) -> bytes:
        return b"T" + len(content).to_bytes(4, "little") + content

    def array(values: np.ndarray) -> bytes:
        shape = b"".join(b"J" + n.to_bytes(4, "little") for n in values.shape)
        kind = text(values.dtype.str[1:].encode())
        return (
            b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
            b"(K\x01(" + shape + b"tcnumpy\ndtype\n" + kind + b"K\x00K\x01\x87R(K\x03U\x01<NNN"
            b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89" + text(values.tobytes()) + b"tb"
        )

    arrays = b"".join(text(name.encode()) + array(v.numpy()) for name, v in tensors.items())
    return b"\x80\x02}" + text(b"blobs") + b"}(" + arrays + b"us."


def test_a_pickle_by_python_2(tmp_path, source, monkeypatch):
    (tmp_path / "x.pkl").write_bytes(of_python_2(source))
    backbone = make_backbone("r3d-tiny")
    load_weights(backbone, convert(tmp_path / "x.pkl", monkeypatch))
    assert is_loaded(backbone, source)


def sparse(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.to_sparse()


def quantised(tensor: torch.Tensor) -> torch.Tensor:
    return torch.quantize_per_tensor(tensor, 0.1, 0, torch.qint8)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    ("made", "said"),
    [
        (sparse, "copied .1 of them., such as x.stem.0.weight .sparse_coo"),
        (quantised, "such as x.stem.0.weight .quantised"),
        (lambda tensor: tensor.to("meta"), "such as x.stem.0.weight .on torch's meta device"),
    ],
)
def test_tensors_without_plain_numbers_load_nothing(tmp_path, source, made, said):
    path = saved(
        tmp_path / "x.pth", named(source | {"stem.0.weight": made(source["stem.0.weight"])}, "x.")
    )
    backbone = make_backbone("r3d-tiny")
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    with pytest.raises(TrainerError, match=said):
        load_weights(backbone, path)
    assert is_loaded(backbone, before)


def test_a_link_to_what_is_not_there(tmp_path):
    (tmp_path / "x.pth").symlink_to("../objects/x")
    with pytest.raises(TrainerError, match=r"x.pth is no file .* link to ../objects/x, which is"):
        read_tensors(tmp_path / "x.pth")


@pytest.mark.filterwarnings("error::UserWarning")
def test_a_pickle_of_a_newer_protocol(tmp_path, source, monkeypatch):
    torch.save({"net": source}, tmp_path / "x.pth", pickle_protocol=4)
    backbone = make_backbone("r3d-tiny")
    load_weights(backbone, convert(tmp_path / "x.pth", monkeypatch))
    assert is_loaded(backbone, source)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_torchscript_program(tmp_path, source, monkeypatch):
    network = make_backbone("r3d-tiny")
    network.load_state_dict(source)
    torch.jit.save(torch.jit.trace(network.eval(), torch.ones(1, 3, 8, 16, 16)), tmp_path / "x.pt")
    with pytest.raises(TrainerError, match=r"x\.pt is a TorchScript program, so it is refused"):
        read_tensors(tmp_path / "x.pt")
    backbone = make_backbone("r3d-tiny")
    load_weights(backbone, convert(tmp_path / "x.pt", monkeypatch))
    assert is_loaded(backbone, source)


def test_the_command_as_a_shell_runs_it(tmp_path, source, monkeypatch):
    """From another folder, for a file whose name a shell would change; no file is replaced."""
    folder = tmp_path / 'it\'s "$HOME" `x`'
    folder.mkdir()
    path = saved(folder / "a b.pth", {"net": source, "args": argparse.Namespace(lr=1)})
    what = r"a b\.pth holds Python objects besides tensors \(argpars"
    with pytest.raises(TrainerError, match=what) as caught:
        read_tensors(path)
    command = str(caught.value).partition(" instead: ")[2]
    done = subprocess.run(command, shell=True, cwd="/", capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    written = (folder / "a b.weights.pt").read_bytes()
    assert len(read_tensors(folder / "a b.weights.pt")) == 72
    with pytest.raises(FileExistsError):
        convert(path, monkeypatch)
    assert (folder / "a b.weights.pt").read_bytes() == written


def test_files_without_tensors(tmp_path):
    for content in ({"epoch": 3}, {"state_dict": {"a": 1}}, [torch.ones(2)], {}, torch.ones(2)):
        with pytest.raises(TrainerError, match="holds no named tensors, but"):
            read_tensors(saved(tmp_path / "x.pth", content))
    with pytest.raises(TrainerError, match=r"is not there\. Check the path"):
        read_tensors(tmp_path / "none.pth")
