"""Lengths in a store's own lists: HDF5 would look for an end for ever, or take as much memory as
they say."""

import resource
from struct import pack_into

import h5py
import numpy as np
import pytest

from evaluate.errors import EvaluateError
from evaluate.features import layout
from evaluate.features.store import Features
from tests.evaluate.stores import random_store

TEXT = h5py.string_dtype("utf-8")


@pytest.fixture
def path(tmp_path):
    random_store(tmp_path / "x.h5", (2, 1, 1, 1), 4)
    return tmp_path / "x.h5"


def items(content: bytes) -> list[tuple[int, int]]:
    """Where every text of the first collection begins, and its number; the last is free space."""
    at = content.index(b"GCOL")
    end, found = at + int.from_bytes(content[at + 8 : at + 16], "little"), []
    at += 16
    while at + 16 <= end:
        number = int.from_bytes(content[at : at + 2], "little")
        size = int.from_bytes(content[at + 8 : at + 16], "little")
        found.append((at, number))
        at += 16 + -(-size // 8) * 8 if number else size
    return found


@pytest.mark.parametrize("size", [0, 8, 2**64 - 16, 2**64 - 64, 2**63, 5000])
@pytest.mark.parametrize("which", [0, -1])
def test_a_text_that_leads_nowhere(which, size, path):
    """A free space of 0 bytes, or a text of 2 ** 64 - 16, has HDF5 read it for ever, and no signal
    stops that."""
    content = bytearray(path.read_bytes())
    at, number = items(content)[which]
    if number and size < 16:
        pack_into("<H", content, at, 0)
    pack_into("<Q", content, at + 8, size)
    path.write_bytes(content)
    with pytest.raises(EvaluateError, match=r"x\.h5 is refused: string \d+ at byte \d+ claims"):
        Features(path)


@pytest.mark.parametrize(
    ("at", "value", "said"),
    [
        (0, 0, r"there are no strings at byte"),
        (4, 9, r"there are no strings at byte"),
        (8, 1 << 40, r"the strings at byte \d+ claim 1099511627776 bytes"),
        (8, 0, r"the strings at byte \d+ claim 0 bytes"),
    ],
)
def test_a_collection_that_is_none(at, value, said, path):
    content = bytearray(path.read_bytes())
    start = content.index(b"GCOL") + at
    content[start : start + (8 if at == 8 else 1)] = value.to_bytes(8 if at == 8 else 1, "little")
    path.write_bytes(content)
    with pytest.raises(EvaluateError, match=said):
        Features(path)


def test_an_attribute_longer_than_the_file(path):
    """HDF5 sets as much memory aside before it looks where the text is: 4 GB at most."""
    with h5py.File(path, "r+") as file:
        file.attrs.create("recipe", "0123456789abcdef" * 4, dtype=TEXT)
        where = file["name"].id.get_offset()
    content = bytearray(path.read_bytes())
    # The text's length, as the attribute has it, before the address of its collection.
    heap = content.index(b"GCOL")
    at = content.index((64).to_bytes(4, "little") + heap.to_bytes(8, "little"))
    assert at != where
    pack_into("<I", content, at, 2**31)
    path.write_bytes(content)
    with pytest.raises(EvaluateError, match=r"an attribute claims 2147483648 bytes, and the file"):
        Features(path)


def test_a_list_of_names_of_gigabytes(path):
    before = resource.getrlimit(resource.RLIMIT_AS)
    content = bytearray(path.read_bytes())
    at = content.index(b"HEAP")
    while at >= 0:  # of every group: version, bytes, first free one, address
        pack_into("<Q", content, at + 8, 3 << 30)
        at = content.find(b"HEAP", at + 1)
    path.write_bytes(content)
    with pytest.raises(EvaluateError, match=r"x\.h5 is damaged"):
        Features(path)
    assert resource.getrlimit(resource.RLIMIT_AS) == before


def test_a_look_gets_little_memory_and_all_of_it_back(monkeypatch):
    before = resource.getrlimit(resource.RLIMIT_AS)
    monkeypatch.setattr(layout, "_LOOK_BYTES", 64 << 20)
    with layout.little_memory():
        with layout.little_memory():
            pass
        with pytest.raises(MemoryError):
            np.empty(1 << 30, np.uint8)
    assert resource.getrlimit(resource.RLIMIT_AS) == before


def test_very_many_splits(path):
    with h5py.File(path, "r+") as file:
        for i in range(1001):
            file[f"splits/{i}"] = file["name"]
    with pytest.raises(EvaluateError, match=r"it has 100\d members"):
        Features(path)


def test_another_version_of_the_format(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w", libver="latest") as file:
        file.attrs.create("a", "x" * 100, dtype=TEXT)
    with pytest.raises(EvaluateError, match="it has version 3 of the HDF5 format"):
        Features(tmp_path / "x.h5")


def test_attributes_of_every_kind_that_earlier_versions_wrote(path):
    with h5py.File(path, "r+") as file:
        for i in range(60):
            file.attrs[f"números{i}" if i % 2 else f"n{i}"] = f"x{i}" * i
            file.attrs[f"i{i}"] = i
        file.attrs["sha256"] = "0" * 64
    with pytest.raises(EvaluateError, match="is not finished"):
        Features(path)
