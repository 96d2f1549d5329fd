import errno
import json
import os
import random
import re
from pathlib import Path

import h5py
import numpy as np
import pytest

from evaluate import disk_errors as disk
from evaluate.disk_errors import UnavailableError
from evaluate.errors import EvaluateError
from evaluate.features import store as storing
from evaluate.features.store import Features, is_complete, must_be_free, unfinished
from tests.evaluate.features.counting_store import CPU, IDENTITY, open_store, whole
from tests.evaluate.stores import held


@pytest.fixture
def path(dataset, tmp_path) -> Path:
    """A finished store of 16 videos and 33 clips."""
    whole(tmp_path / "x.h5", dataset)
    return tmp_path / "x.h5"


@pytest.fixture
def begun(dataset, tmp_path) -> Path:
    """Where the store will be of which 9 of 16 videos are there."""
    open_store(tmp_path / "x.h5", dataset, done=9).close()
    return tmp_path / "x.h5"


def test_what_was_written_is_read(dataset, path):
    assert is_complete(path, IDENTITY)
    read = Features(path)
    means = [i + 0.5 if i != 1 else 3.0 for i in range(16)]
    assert read.features.tolist() == [[mean] * 3 for mean in means]
    assert read.clip_features[:6, 0].tolist() == [0, 1, 1, 2, 6, 2]
    assert read.clip_video[:6].tolist() == [0, 0, 1, 1, 1, 2]
    assert read.clip_frames[4].tolist() == [8, 11]
    assert read.seconds(4) == (8 / 25, 12 / 25)
    assert read.names == [video.name for video in dataset.videos]
    assert read.class_of == [video.class_name for video in dataset.videos]
    assert read.groups == [video.group for video in dataset.videos]
    assert read.labels.tolist() == [video.label for video in dataset.videos]
    assert read.frames.tolist() == [video.frames for video in dataset.videos]
    assert read.shards == dataset.folder.resolve()
    assert read.attributes == IDENTITY | CPU and read.code == "1.2"
    json.dumps(read.attributes)  # they are plain
    assert read.counts == {"expected": 16}
    train, test = read.part("1", "train"), read.part("1", "test")
    assert sorted([*train, *test]) == list(range(16))
    assert all(dataset.videos[i].splits["1"] == "test" for i in test)
    assert not len(read.part("9", "train"))


def test_any_hdf5_reader_reads_it(dataset, path):
    with h5py.File(path) as file:
        assert file["features"].shape == (16, 3)
        assert file["clip_features"].shape == (33, 3) and file["clip_features"].chunks
        assert file["name"].asstr()[0] == dataset.videos[0].name
        assert file["splits/1"].asstr()[0] == dataset.videos[0].splits["1"]
        assert file.attrs["clips"] == 2 and file.attrs["schema"] == 2
        assert "clip_seconds" not in file  # all frames are evenly spaced


@pytest.mark.parametrize(
    "other, sentence",
    [
        ({"clips": 10}, "made with clips 2, and now it would be 10"),
        ({"more": 1}, "made with more none, and now it would be 1"),
    ],
)
def test_refused_when_anything_differs(dataset, path, tmp_path, other, sentence):
    with pytest.raises(EvaluateError, match=f"{sentence}.*--overwrite"):
        is_complete(path, IDENTITY | other)
    assert not is_complete(tmp_path / "absent.h5", IDENTITY)
    open_store(tmp_path / "y.h5", dataset).close()
    with pytest.raises(EvaluateError, match=sentence):
        open_store(tmp_path / "y.h5", dataset, IDENTITY | other)


def test_an_unfinished_store_is_not_read(begun):
    """Whatever its name is."""
    with pytest.raises(EvaluateError, match="is not finished: it has features of 9 of 16 videos"):
        Features(unfinished(begun))
    unfinished(begun).rename(begun)
    with pytest.raises(EvaluateError, match="is not finished"):
        Features(begun)


def test_every_damage_is_one_sentence(path, tmp_path):
    """Cut anywhere, or with any byte changed, a store is refused or says what it said before."""

    def content(file: Path) -> tuple[object, ...]:
        read = Features(file)
        return read.features.tobytes(), read.clip_features.tobytes(), read.names, read.attributes

    good, before = path.read_bytes(), content(path)
    rng = random.Random(0)
    refused = 0
    for trial in range(150):
        bad = bytearray(good)
        if trial % 3:
            bad[rng.randrange(len(bad))] ^= 1 << rng.randrange(8)
        else:
            del bad[rng.randrange(len(bad)) :]
        (tmp_path / "bad.h5").write_bytes(bad)
        try:
            assert content(tmp_path / "bad.h5") == before
        except EvaluateError as error:
            refused += 1
            assert str(tmp_path / "bad.h5") in str(error) and "\n" not in str(error)
    assert refused > 50


@pytest.mark.parametrize("name", ["features", "clip_features", "label", "name"])
def test_changed_content_is_seen(path, name):
    with h5py.File(path, "r+") as file:
        file[name][0] = "other" if name == "name" else 7
    with pytest.raises(EvaluateError, match="changed or damaged after it was written"):
        _ = Features(path).clip_features


def test_what_is_no_store(path, tmp_path):
    """Nobody is told to delete the features of others."""
    with pytest.raises(EvaluateError, match=r"There is no feature store .*absent\.h5"):
        Features(tmp_path / "absent.h5")
    (tmp_path / "text.h5").write_text("hello")
    with pytest.raises(EvaluateError, match="is not a feature store, as it is no HDF5 file"):
        Features(tmp_path / "text.h5")
    for name in ("x", "features"):
        with h5py.File(tmp_path / f"{name}-alone.h5", "w") as file:
            file[name] = np.ones((3, 2))
        with pytest.raises(EvaluateError, match="an HDF5 file, but not a feature store"):
            Features(tmp_path / f"{name}-alone.h5")
    with h5py.File(path, "r+") as file:
        file.attrs["schema"] = 3
    with pytest.raises(
        EvaluateError, match="feature store of schema 3; this version of ascnet reads schema 2"
    ):
        Features(path)
    with h5py.File(path, "r+") as file:
        del file.attrs["schema"]
    with pytest.raises(EvaluateError, match="feature store of schema 1"):
        Features(path)


USES = (Features, must_be_free, lambda path: is_complete(path, IDENTITY))


def test_a_store_in_use_is_not_called_damaged(path):
    for use in USES:
        with held(path), pytest.raises(UnavailableError, match=r"x\.h5 is in use: ") as caught:
            use(path)
        assert "damaged" not in str(caught.value) and "do not delete it" in str(caught.value)
    read = Features(path)
    with held(path), pytest.raises(UnavailableError, match="is in use: "):
        _ = read.clip_features
    must_be_free(path)
    assert len(read.clip_features) == 33


def test_an_unfinished_store_that_is_being_written(dataset, begun):
    uses = (lambda path: Features(unfinished(path)), must_be_free, lambda p: open_store(p, dataset))
    with held(unfinished(begun)):
        for use in uses:
            with pytest.raises(UnavailableError, match="is in use: "):
                use(begun)
    in_use = pytest.raises(UnavailableError, match="is in use: ")
    with h5py.File(unfinished(begun), "r"), in_use:  # open in this very process
        open_store(begun, dataset)


@pytest.fixture
def refuse(monkeypatch):
    """Opening an HDF5 file fails as it does where the system refuses."""

    def so(number: int, text: str, *, always: bool) -> None:
        really = h5py.File

        def open_it(path, mode, **how):
            if always or how.get("locking") is not False:
                if mode == "x":  # HDF5 creates a file before it locks it
                    path.touch(exist_ok=False)
                raise OSError(number, text) if number else OSError(text)
            return really(path, mode, **how)

        monkeypatch.setattr(disk.h5py, "File", open_it)

    return so


_LOCK = "Unable to open file (unable to lock file, errno = {}, error message = '{}')"


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EIO])
def test_a_file_system_without_locks(dataset, tmp_path, refuse, monkeypatch, number):
    """It is read and written all the same; where locks are asked for, the sentence says so."""
    text = _LOCK.format(number, os.strerror(number))
    refuse(number, text, always=False)
    whole(tmp_path / "x.h5", dataset)
    assert len(Features(tmp_path / "x.h5").clip_features) == 33
    for by_attribute in (number, 0):  # some versions of h5py say it in their text alone
        monkeypatch.undo()
        refuse(by_attribute, text, always=True)
        with pytest.raises(UnavailableError, match=r"x\.h5 cannot be locked: ") as caught:
            Features(tmp_path / "x.h5")
        assert os.strerror(number) in str(caught.value)
        assert "HDF5_USE_FILE_LOCKING=FALSE" in str(caught.value)
        assert "damaged" not in str(caught.value)
        with pytest.raises(UnavailableError, match="cannot be locked"):
            whole(tmp_path / "y.h5", dataset)


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EMFILE, errno.EACCES])
def test_what_the_system_refuses_is_no_damage(path, refuse, number):
    why = os.strerror(number)
    refuse(number, f"Unable to open file (errno = {number}, error message = '{why}')", always=True)
    with pytest.raises(UnavailableError, match=f"cannot be read: {why}. .* do not delete it"):
        Features(path)


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EACCES])
def test_a_file_that_cannot_be_seen_is_not_taken_for_missing(dataset, path, monkeypatch, number):
    """A folder of a network file system that is gone for a while: nothing is written in its
    place."""
    really = Path.stat

    def no_stat(self, **how):
        if self.suffix == ".h5":
            raise OSError(number, os.strerror(number), str(self))
        return really(self, **how)

    monkeypatch.setattr(Path, "stat", no_stat)
    for use in USES:
        with pytest.raises(UnavailableError, match=r"x\.h5 cannot be read: .* do not delete it"):
            use(path)
    with pytest.raises(UnavailableError, match=r"x\.partial\.h5 cannot be read: "):
        open_store(path, dataset)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_old_store_of_no_numbers_is_refused(dataset, path, value):
    """Earlier versions stored them."""
    with h5py.File(path, "r+") as file:
        file["clip_features"][7, 1] = value
        file["features"][3, 1] = value
        file.attrs.modify("sha256", storing.checksum(file))
        file.attrs.modify("clips_sha256", storing.clips_checksum(file))
    wanted = f"NaN .* for 1 of 16 videos; the first is {re.escape(dataset.videos[3].name)}"
    with pytest.raises(EvaluateError, match=wanted):
        Features(path)
    with h5py.File(path, "r+") as file:  # in its clips alone
        file["features"][3, 1] = 1
        file.attrs.modify("sha256", storing.checksum(file))
    with pytest.raises(EvaluateError, match=wanted):
        _ = Features(path).clip_features
