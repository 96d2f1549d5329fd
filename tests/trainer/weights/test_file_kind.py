"""What is named as weights and holds none."""

import bz2
import gzip
import io
import lzma
import shlex
import subprocess
import tarfile
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from trainer.errors import TrainerError
from trainer.weights.file_kind import something_else
from trainer.weights.load import backbone_from_file, load_weights
from trainer.weights.read import read_tensors

PAGE = b"\n <!DOCTYPE html><html><head><title>Virus\n scan warning</title></head></html>"
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 132345678\n"


def checkpoint() -> bytes:
    file = io.BytesIO()
    torch.save({"conv.weight": torch.ones(2)}, file)
    return file.getvalue()


def zipped(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, b"content")
    return file.getvalue()


def tarred() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a.pth"))
    return file.getvalue()


def arrays(how: str) -> bytes:
    file = io.BytesIO()
    if how == "h5":
        with h5py.File(file, "w") as store:
            store["features"] = [1.0]
    else:
        (np.save if how == "npy" else np.savez)(file, np.ones(3))
    return file.getvalue()


KINDS = {
    "empty": (b"", "an empty file. Copy or download it again."),
    "blank": (bytes(5000), "blank at its beginning: its download was not finished."),
    "pointer": (LFS, "a Git LFS pointer, which stands for a file of 132345678 bytes"),
    "page": (PAGE, 'a web page ("Virus scan warning"), about'),
    "page with BOM": (b"\xef\xbb\xbf<HTML><body>404", "a web page, about"),
    "answer": (b'{"message": "Not Found"}', 'a text, which begins "{"message": "Not Found"}".'),
    "text": ("Stra\u00dfe\n".encode() * 900, 'a text, which begins "Stra\u00dfe Stra\u00dfe '),
    "gzip": (gzip.compress(checkpoint()), "compressed with gzip. Unpack it"),
    "bzip2": (bz2.compress(checkpoint()), "compressed with bzip2. Unpack it"),
    "xz": (lzma.compress(checkpoint()), "compressed with xz. Unpack it"),
    "tar": (tarred(), "a tar archive. Unpack it and name the file in it."),
    "zip": (
        zipped("a/net.pth", "b", "c", "d"),
        'a zip archive and no checkpoint; in it are "a/net.pth", "b", "c", .... Unpack it',
    ),
    "zip of nothing": (zipped(), "a zip archive and no checkpoint; in it are no files."),
    "cut zip": (checkpoint()[:900], "a zip file without its end, cut short."),
    "end of a zip": (b"PK\x05\x06", "a zip file without its end, cut short."),
    "npy": (arrays("npy"), "a NumPy array (.npy)."),
    "npz": (arrays("npz"), "a NumPy archive (.npz)."),
    "h5": (arrays("h5"), "an HDF5 file, such as"),
    "video": (b"\0\0\0\x18ftypmp42\x80", "an MP4 video."),
    "picture": (b"\x89PNG\r\n\x1a\n\0", "a PNG picture."),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["x.pth", "x.safetensors", "x"])
def test_what_a_file_is_that_holds_no_weights(tmp_path: Path, kind: str, name: str) -> None:
    content, what = KINDS[kind]
    (tmp_path / name).write_bytes(content)
    for read in (read_tensors, backbone_from_file):
        with pytest.raises(TrainerError) as caught:
            read(tmp_path / name)
        said = str(caught.value)
        start = f"{tmp_path / name} cannot be read as a file of weights: it is {what}"
        assert said.startswith(start), said
        assert "\n" not in said and "weights_only" not in said


@pytest.mark.parametrize(
    "content", [b"\x80", b"\x12\x34\xfe" * 999, "nicht m\u00f6glich".encode("latin1")]
)
@pytest.mark.parametrize("name", ["x.pth", "x.safetensors"])
def test_of_other_kinds_torch_has_no_say(tmp_path: Path, content: bytes, name: str) -> None:
    """Its advice is to unpickle them, whatever they are."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(TrainerError) as caught:
        load_weights(torch.nn.Linear(1, 1), tmp_path / name)
    assert str(caught.value).startswith(
        f"{tmp_path / name} cannot be read as a file of weights (damaged, or of a kind that is not "
        "known here). It takes .safetensors"
    )


def test_an_export_for_onnx(tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(b"\x08\x0a\x12\x07pytorch\xff")
    said = something_else(tmp_path / "x.onnx")
    assert said.startswith(
        "an ONNX model. Of a run, `ascnet export --to safetensors` writes weights."
    )


@pytest.mark.parametrize("name", ["x.pth.gz", "it's $HOME.pth", "-x.pth"])
def test_the_command_that_unpacks(tmp_path: Path, monkeypatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(gzip.compress(checkpoint()))
    command = something_else(Path(name)).partition("name what comes out: ")[2]
    subprocess.run(command, shell=True, check=True)
    out = Path(shlex.split(command)[-1])
    assert out == tmp_path / f"unpacked-{name.removesuffix('.gz')}"
    assert read_tensors(out)["conv.weight"].tolist() == [1.0, 1.0]


@pytest.mark.parametrize("old", [False, True])
def test_weights_are_nothing_else(tmp_path: Path, old: bool) -> None:
    torch.save({"a": torch.ones(2)}, tmp_path / "x", _use_new_zipfile_serialization=not old)
    assert not something_else(tmp_path / "x")
