"""A feature store from somebody else reads no other file, and calls for no program."""

import h5py
import numpy as np
import pytest
from h5py import h5pl

from evaluate.errors import EvaluateError
from evaluate.features import store
from evaluate.features.store import Features, is_complete, must_be_free, must_be_of, unfinished
from tests.evaluate.stores import random_store, store_of, video

SECRET = b"root:x:0:0:root:/root:/bin/bash\n" * 20


@pytest.fixture
def path(tmp_path):
    (tmp_path / "secret").write_bytes(SECRET)
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["secret"] = np.frombuffer(SECRET[:16], np.float32)
        other["row"] = np.zeros(4)
    random_store(tmp_path / "x.h5", (2, 1, 1, 1), 4)
    return tmp_path / "x.h5"


def signed(file: h5py.File) -> None:
    """With the checksums of what it holds now, as whoever made it would."""
    try:
        file.attrs["sha256"] = store.checksum(file)
        file.attrs["clips_sha256"] = store.clips_checksum(file)
    except (OSError, KeyError):
        pass


def external(file, folder, name="features", kind="f4"):
    shape = file[name].shape
    del file[name]
    where = [(str(folder / "secret"), 0, h5py.h5f.UNLIMITED)]
    file.create_dataset(name, shape, kind, external=where)


def external_link(file, folder):
    del file["fps"]
    file["fps"] = h5py.ExternalLink(str(folder / "other.h5"), "row")


def external_group(file, folder):
    with h5py.File(folder / "other.h5", "r+") as other:
        other["s/1"] = np.array(["train"] * 4, h5py.string_dtype("utf-8"))
    file["splits"] = h5py.ExternalLink(str(folder / "other.h5"), "s")


def soft_link(file, folder):
    file["factors/tempo"] = h5py.SoftLink("/fps")


def soft_root(file, folder):
    file.move("fps", "here")
    file["fps"] = h5py.SoftLink("/here")


def virtual(file, folder, name="fps"):
    shape, kind = file[name].shape, file[name].dtype
    del file[name]
    view = h5py.VirtualLayout(shape, kind)
    view[...] = h5py.VirtualSource(str(folder / "other.h5"), "row", shape)
    file.create_virtual_dataset(name, view)


def packed(file, folder):
    rows = file["features"][:]
    del file["features"]
    file.create_dataset("features", data=rows, chunks=rows.shape, compression="gzip")


def unknown(file, folder):
    file["more"] = np.zeros(4)


def nested(file, folder):
    file["factors/a/b"] = np.zeros(4)


WAYS = {
    "lies in another file": [
        external,
        lambda f, d: external(f, d, "clip_features"),
        lambda f, d: external(f, d, "label", "i8"),
        virtual,
        lambda f, d: virtual(f, d, "features"),
    ],
    "is a link": [external_link, external_group, soft_link, soft_root],
    "is compressed": [packed],
    "contains 'more'": [unknown],
    "is not an HDF5 dataset": [nested],
}


@pytest.mark.parametrize(
    ("said", "change"), [(said, change) for said, changes in WAYS.items() for change in changes]
)
def test_what_points_elsewhere_is_refused(said, change, path):
    with h5py.File(path, "r+") as file:
        change(file, path.parent)
        signed(file)
    partial = unfinished(path.with_name("y.h5"))
    partial.write_bytes(path.read_bytes())
    for open_it in (Features, lambda p: is_complete(p, {"encoder": "trained"})):
        with pytest.raises(EvaluateError, match=f"x.h5 is refused: .*{said}") as caught:
            open_it(path)
        assert "do not use it" in str(caught.value)
    with pytest.raises(EvaluateError, match=said):
        must_be_of(partial, {"encoder": "trained"})
    must_be_free(path.with_name("y.h5"))  # nobody has it open


def test_blocks_of_fewer_dimensions_than_the_rows(path):
    """HDF5 writes past its own memory as it reads them (CVE-2026-19025)."""
    content = path.read_bytes()
    layout = bytes((3, 2, 3))  # version, in blocks, dimensions and one
    places = [i for i in range(len(content)) if content.startswith(layout, i)]
    refused = 0
    for place in places:
        path.write_bytes(content[: place + 2] + b"\2" + content[place + 3 :])
        with pytest.raises(EvaluateError) as error:
            Features(path)
        refused += "has blocks of 1 dimensions" in str(error.value)
    assert refused


def test_an_unfinished_store_is_not_gone_on_with(path):
    unfinished_store = unfinished(path)
    path.rename(unfinished_store)
    with h5py.File(unfinished_store, "r+") as file:
        external(file, path.parent)
        file.attrs["sha256"] = file.attrs["clips_sha256"] = "0" * 64
    with pytest.raises(EvaluateError, match="lies in another file"):
        store_of(path, [video(f"{i}.mp4", 1) for i in range(4)], [np.ones((1, 4))] * 4)
    assert (path.parent / "secret").read_bytes() == SECRET


def test_a_schema_behind_a_link_is_not_followed(path):
    with h5py.File(path, "w") as file:
        for name in ("features", "done"):
            file[name] = h5py.ExternalLink(str(path.parent / "other.h5"), "secret")
    with pytest.raises(EvaluateError, match="schema 1"):
        Features(path)


def test_no_program_is_looked_for_that_unpacks(path, monkeypatch):
    """Heaps of links and attributes may be packed, too."""
    seen, before = [], h5pl.size()
    check = store.must_be_ours
    monkeypatch.setattr(store, "must_be_ours", lambda *a: (seen.append(h5pl.size()), check(*a)))
    Features(path)
    assert seen == [0] and h5pl.size() == before


def test_what_we_write_is_taken(path):
    assert len(Features(path).clip_features) == 5
