"""Files of weights that were cut or changed: one sentence, whatever happened to them."""

import random
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from trainer.errors import TrainerError
from trainer.weights.load import backbone_from_file, load_weights
from trainer.weights.read import read_tensors

TENSORS = {"conv.weight": torch.arange(600.0).reshape(20, 30), "bn.bias": torch.ones(7)}
KINDS = ("zip.pth", "old.pth", "x.safetensors")
TRIES = 120


def intact(folder: Path, kind: str) -> bytes:
    """A small file of that kind."""
    path = folder / kind
    if kind.endswith(".safetensors"):
        save_file(TENSORS, path, metadata={"backbone": "r3d-tiny"})
    else:
        state = {"epoch": 3, "state_dict": TENSORS}
        torch.save(state, path, _use_new_zipfile_serialization=kind.startswith("zip"))
    return path.read_bytes()


def cut(content: bytes, chance: random.Random) -> bytes:
    return content[: chance.randrange(len(content))]


def flip(content: bytes, chance: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(chance.choice((1, 1, 3, 20))):
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def blank(content: bytes, chance: random.Random) -> bytes:
    start = chance.randrange(len(content))
    length = chance.randrange(1, 200)
    return content[:start] + bytes(len(content[start : start + length])) + content[start + length :]


def insert(content: bytes, chance: random.Random) -> bytes:
    start = chance.randrange(len(content))
    return content[:start] + chance.randbytes(chance.randrange(1, 50)) + content[start:]


def is_one_paragraph_about(path: Path, error: TrainerError) -> bool:
    text = str(error)
    return str(path) in text and "\n" not in text and text.endswith((".", ".pt"))


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")  # a version that was changed
@pytest.mark.parametrize("damage", [cut, flip, blank, insert])
@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_file_is_read_or_refused(tmp_path, kind, damage):
    content, path, refused = intact(tmp_path, kind), tmp_path / kind, 0
    for seed in range(TRIES):
        path.write_bytes(damage(content, random.Random(seed)))
        try:
            assert all(isinstance(t, torch.Tensor) for t in read_tensors(path).values())
        except TrainerError as error:
            assert is_one_paragraph_about(path, error), error
            refused += 1
            with pytest.raises(TrainerError) as caught:
                backbone_from_file(path)
            assert is_one_paragraph_about(path, caught.value), caught.value
    assert refused >= (TRIES - 2 if damage is cut else 1)


def test_a_changed_number_is_found_by_the_checksum(tmp_path):
    content, path = intact(tmp_path, "zip.pth"), tmp_path / "zip.pth"
    number = torch.tensor(300.0).numpy().tobytes()
    assert content.count(number) == 1
    path.write_bytes(content.replace(number, torch.tensor(301.0).numpy().tobytes()))
    with pytest.raises(TrainerError, match=r"is damaged: its part \S*data/0 is not what was wri"):
        read_tensors(path)


def test_a_file_without_checksums_is_read(tmp_path):
    torch.serialization.set_crc32_options(False)
    try:
        intact(tmp_path, "zip.pth")
    finally:
        torch.serialization.set_crc32_options(True)
    assert torch.equal(read_tensors(tmp_path / "zip.pth")["bn.bias"], TENSORS["bn.bias"])


@pytest.mark.parametrize("name", ["x.pth", "x.safetensors"])
def test_files_that_the_system_refuses(tmp_path, monkeypatch, name):
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    (tmp_path / name).write_bytes(intact(tmp_path, name))
    monkeypatch.setattr("trainer.weights.read.torch.load", refuse)
    monkeypatch.setattr("trainer.weights.read.load_file", refuse)
    with pytest.raises(TrainerError, match=r"cannot be read .*Permission denied"):
        load_weights(torch.nn.Linear(1, 1), tmp_path / name)
