import errno
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from evaluate import disk_errors as disk
from evaluate.disk_errors import UnavailableError
from evaluate.errors import EvaluateError
from evaluate.features import store as storing
from evaluate.features.store import (
    Features,
    FeatureStore,
    Origin,
    is_complete,
    must_be_free,
    unfinished,
)
from evaluate.search.search import span_text
from tests.evaluate.stores import held

IDENTITY = {"encoder": "trained", "clips": 2, "dataset_counts": '{"expected": 16}'}


def open_store(path, dataset, identity=IDENTITY, videos=None) -> FeatureStore:
    """Two clips of every video, but three of the second one."""
    videos = dataset.videos if videos is None else videos
    spans = [
        [(0, 3), (4, min(7, video.frames - 1))] + [(8, 11)] * (i == 1)
        for i, video in enumerate(videos)
    ]
    return FeatureStore(path, videos, spans, 3, identity, Origin(dataset.folder, "1.2"))


def fill(store: FeatureStore, first: int, last: int) -> None:
    for i in range(first, last):
        clips = np.array([[i] * 3, [i + 1] * 3] + [[i + 5] * 3] * (i == 1), np.float32)
        store.write(i, 1, clips)


def whole(path, dataset) -> None:
    store = open_store(path, dataset)
    fill(store, 0, 16)
    store.close()


def test_write_and_read(dataset, tmp_path):
    path = tmp_path / "a" / "x.h5"
    store = open_store(path, dataset)
    fill(store, 0, 16)
    assert not path.exists()
    store.close()
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
    assert read.attributes == IDENTITY and read.code == "1.2"
    assert read.counts == {"expected": 16}
    train, test = read.part("1", "train"), read.part("1", "test")
    assert sorted([*train, *test]) == list(range(16))
    assert all(dataset.videos[i].splits["1"] == "test" for i in test)
    assert not len(read.part("9", "train"))


def test_any_hdf5_reader_reads_it(dataset, tmp_path):
    whole(tmp_path / "x.h5", dataset)
    with h5py.File(tmp_path / "x.h5") as file:
        assert file["features"].shape == (16, 3)
        assert file["clip_features"].shape == (33, 3) and file["clip_features"].chunks
        assert file["name"].asstr()[0] == dataset.videos[0].name
        assert file["splits/1"].asstr()[0] == dataset.videos[0].splits["1"]
        assert file.attrs["clips"] == 2


def test_factors_are_stored(dataset, tmp_path):
    known = [{"tempo": 1.5, "family": "dots"}, {"tempo": 2, "family": "lines"}, None]
    videos = [replace(v, factors=f) for v, f in zip(dataset.videos, known, strict=False)]
    store = open_store(tmp_path / "x.h5", dataset, videos=videos)
    fill(store, 0, 3)
    store.close()
    factors = Features(tmp_path / "x.h5").factors
    assert factors["family"].tolist() == ["dots", "lines", ""]
    assert factors["tempo"][:2].tolist() == [1.5, 2.0] and np.isnan(factors["tempo"][2])


@pytest.mark.parametrize(
    "other, sentence",
    [
        ({"clips": 10}, "made with clips 2, and now it would be 10"),
        ({"more": 1}, "made with more none, and now it would be 1"),
    ],
)
def test_refused_when_anything_differs(dataset, tmp_path, other, sentence):
    path = tmp_path / "x.h5"
    whole(path, dataset)
    with pytest.raises(EvaluateError, match=f"{sentence}.*--overwrite"):
        is_complete(path, IDENTITY | other)
    assert not is_complete(tmp_path / "absent.h5", IDENTITY)
    store = open_store(tmp_path / "y.h5", dataset)
    store.close()
    with pytest.raises(EvaluateError, match=sentence):
        open_store(tmp_path / "y.h5", dataset, IDENTITY | other)


def test_an_unfinished_store_goes_on(dataset, tmp_path):
    path = tmp_path / "x.h5"
    store = open_store(path, dataset)
    fill(store, 0, 9)
    store.close()
    assert not path.exists()
    with pytest.raises(EvaluateError, match="is not finished: it has features of 9 of 16 videos"):
        Features(unfinished(path))
    store = open_store(path, dataset)
    assert store.done.sum() == 9
    fill(store, 9, 16)
    store.close()
    whole(tmp_path / "y.h5", dataset)
    x, y = Features(path), Features(tmp_path / "y.h5")
    assert (x.features == y.features).all() and (x.clip_features == y.clip_features).all()


def test_the_unfinished_one_given_the_finished_ones_name(dataset, tmp_path):
    store = open_store(tmp_path / "x.h5", dataset)
    fill(store, 0, 9)
    store.close()
    unfinished(tmp_path / "x.h5").rename(tmp_path / "x.h5")
    with pytest.raises(EvaluateError, match="is not finished"):
        Features(tmp_path / "x.h5")


def test_every_damage_is_one_sentence(dataset, tmp_path):
    """Cut anywhere, or with any byte changed, a store is refused or says what it said before."""
    whole(tmp_path / "x.h5", dataset)
    good = (tmp_path / "x.h5").read_bytes()
    read = Features(tmp_path / "x.h5")
    said = read.features.tobytes(), read.clip_features.tobytes(), read.names, read.attributes
    rng = random.Random(0)
    refused = 0
    for trial in range(150):
        bad = bytearray(good)
        if trial % 3:
            bad[rng.randrange(len(bad))] ^= 1 << rng.randrange(8)
        else:
            del bad[rng.randrange(len(bad)) :]
        path = tmp_path / "bad.h5"
        path.write_bytes(bad)
        try:
            found = Features(path)
            now = (
                found.features.tobytes(),
                found.clip_features.tobytes(),
                found.names,
                found.attributes,
            )
            assert now == said
        except EvaluateError as error:
            refused += 1
            assert str(path) in str(error) and "\n" not in str(error)
    assert refused > 50


@pytest.mark.parametrize("name", ["features", "clip_features", "label", "name"])
def test_changed_content_is_seen(dataset, tmp_path, name):
    path = tmp_path / "x.h5"
    whole(path, dataset)
    with h5py.File(path, "r+") as file:
        file[name][0] = "other" if name == "name" else 7
    with pytest.raises(EvaluateError, match="changed or damaged after it was written"):
        _ = Features(path).clip_features


def test_what_is_no_store(dataset, tmp_path):
    with pytest.raises(EvaluateError, match=r"There is no feature store .*absent\.h5"):
        Features(tmp_path / "absent.h5")
    (tmp_path / "text.h5").write_text("hello")
    with pytest.raises(EvaluateError, match="is damaged, or no HDF5 file"):
        Features(tmp_path / "text.h5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = [1]
    with pytest.raises(EvaluateError, match="an HDF5 file, but no feature store"):
        Features(tmp_path / "other.h5")
    whole(tmp_path / "x.h5", dataset)
    with h5py.File(tmp_path / "x.h5", "r+") as file:
        file.attrs["schema"] = 3
    with pytest.raises(EvaluateError, match="feature store of schema 3, this ascnet reads 2"):
        Features(tmp_path / "x.h5")
    with h5py.File(tmp_path / "x.h5", "r+") as file:
        del file.attrs["schema"]
    with pytest.raises(EvaluateError, match="feature store of schema 1"):
        Features(tmp_path / "x.h5")


def test_killed_while_writing(dataset, tmp_path):
    path = tmp_path / "x.h5"
    program = (
        "import sys, time\nfrom pathlib import Path\n"
        "from builder.shards.dataset import ShardDataset\n"
        "from tests.evaluate.features.test_store import fill, open_store\n"
        "store = open_store(Path(sys.argv[1]), ShardDataset(Path(sys.argv[2])))\n"
        "for i in range(16):\n"
        "    fill(store, i, i + 1)\n"
        "    print(i, flush=True)\n"
        "    time.sleep(0.05)\n"
    )
    command = [sys.executable, "-c", program, str(path), str(dataset.folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    for line in process.stdout:
        if int(line) == 6:
            break
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    time.sleep(0.1)
    store = open_store(path, dataset)
    done = int(store.done.sum())
    assert done >= 7
    fill(store, done, 16)
    store.close()
    whole(tmp_path / "y.h5", dataset)
    assert (Features(path).clip_features == Features(tmp_path / "y.h5").clip_features).all()


def test_names_that_are_no_utf8(dataset, tmp_path):
    odd = replace(dataset.videos[0], name="a\udcff.avi")
    store = open_store(tmp_path / "x.h5", dataset, videos=[odd])
    fill(store, 0, 1)
    store.close()
    assert Features(tmp_path / "x.h5").names == ["a\\udcff.avi"]


def test_unknown_frame_rate_gives_no_seconds(dataset, tmp_path):
    store = open_store(tmp_path / "x.h5", dataset, videos=[replace(dataset.videos[0], fps=None)])
    fill(store, 0, 1)
    store.close()
    assert Features(tmp_path / "x.h5").seconds(0) is None


def test_attributes_are_plain(dataset, tmp_path):
    whole(tmp_path / "x.h5", dataset)
    json.dumps(Features(tmp_path / "x.h5").attributes)


def test_a_full_disk_is_one_sentence(dataset, tmp_path, monkeypatch):
    """Told before HDF5 begins to write; when there is room, the store is made."""
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=50_000))
    with pytest.raises(EvaluateError, match=r"will take 2\.1 MB, and its disk has 0\.1 MB left"):
        open_store(tmp_path / "x.h5", dataset)
    monkeypatch.undo()

    def refuse(*place: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    with pytest.raises(EvaluateError, match=r"Cannot write .*x\.partial\.h5: No space left"):
        open_store(tmp_path / "x.h5", dataset)
    monkeypatch.undo()
    whole(tmp_path / "x.h5", dataset)
    assert len(Features(tmp_path / "x.h5").names) == 16


def test_a_quota_is_told_before_hdf5_begins(dataset, tmp_path, monkeypatch):
    def refuse(*place: int) -> None:
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    monkeypatch.setattr(h5py, "File", lambda *_: pytest.fail("HDF5 began to write"))
    with pytest.raises(EvaluateError, match=r"Cannot write .*: (Disk q|Q)uota exceeded. Make room"):
        open_store(tmp_path / "x.h5", dataset)
    assert not list(tmp_path.iterdir())


def test_all_space_is_taken_before_the_first_feature(dataset, tmp_path):
    store = open_store(tmp_path / "x.h5", dataset)
    file = unfinished(tmp_path / "x.h5").stat()
    assert file.st_blocks * 512 >= file.st_size
    fill(store, 0, 16)
    store.close()
    assert (tmp_path / "x.h5").stat().st_size == file.st_size


def test_time_codes_follow_frame_times(dataset, tmp_path):
    times = (0.0, 0.1, 0.2, 0.5, 0.6, 1.6, 1.7, 1.8)
    uneven = replace(dataset.videos[0], frames=8, times=times, fps=7 / 1.8)
    even = replace(dataset.videos[1], fps=25.0)
    store = open_store(tmp_path / "x.h5", dataset, videos=[uneven, even])
    fill(store, 0, 2)
    store.close()
    read = Features(tmp_path / "x.h5")
    assert read.seconds(0) == (0.0, 0.6)  # frames 0 to 3; frame 4 comes at 0.6
    assert read.seconds(1) == (0.6, pytest.approx(1.9))  # the last lasts as the one before it
    assert read.seconds(2) == (0.0, 4 / 25)
    assert span_text(read, 0, 1) == "00:00.0-00:01.9"
    assert read.duration.tolist() == pytest.approx([1.9, even.frames / 25])
    with h5py.File(tmp_path / "x.h5", "r+") as file:
        file["clip_seconds"][0, 0] = 0.05
    with pytest.raises(EvaluateError, match="changed or damaged"):
        Features(tmp_path / "x.h5")


def test_stores_of_evenly_spaced_frames_are_as_before(dataset, tmp_path):
    whole(tmp_path / "x.h5", dataset)
    with h5py.File(tmp_path / "x.h5") as file:
        assert "clip_seconds" not in file and file.attrs["schema"] == 2


def test_a_store_in_use_is_not_called_damaged(dataset, tmp_path):
    path = tmp_path / "x.h5"
    whole(path, dataset)
    for use in (Features, must_be_free, lambda path: is_complete(path, IDENTITY)):
        with held(path), pytest.raises(UnavailableError, match=r"x\.h5 is in use: ") as caught:
            use(path)
        assert "damaged" not in str(caught.value) and "do not delete it" in str(caught.value)
    read = Features(path)
    with held(path), pytest.raises(UnavailableError, match="is in use: "):
        _ = read.clip_features
    must_be_free(path)
    assert len(read.clip_features) == 33


def test_an_unfinished_store_that_is_being_written(dataset, tmp_path):
    path = tmp_path / "x.h5"
    store = open_store(path, dataset)
    fill(store, 0, 9)
    store.close()
    with held(unfinished(path)):
        with pytest.raises(UnavailableError, match="is in use: "):
            Features(unfinished(path))
        with pytest.raises(UnavailableError, match="is in use: "):
            must_be_free(path)
        with pytest.raises(UnavailableError, match="is in use: "):
            open_store(path, dataset)
    with pytest.raises(EvaluateError, match="is not finished: it has features of 9 of 16"):
        Features(unfinished(path))
    in_use = pytest.raises(UnavailableError, match="is in use: ")
    with h5py.File(unfinished(path), "r"), in_use:  # open in this very process
        open_store(path, dataset)


@pytest.fixture
def refuse(monkeypatch):
    """Opening an HDF5 file fails as it does where the system refuses."""

    def so(number: int, text: str, *, always: bool) -> None:
        really = h5py.File

        def open_it(path, mode, **how):
            if always or how.get("locking") is not False:
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
def test_what_the_system_refuses_is_no_damage(dataset, tmp_path, refuse, number):
    whole(tmp_path / "x.h5", dataset)
    why = os.strerror(number)
    refuse(number, f"Unable to open file (errno = {number}, error message = '{why}')", always=True)
    with pytest.raises(UnavailableError, match=f"cannot be read: {why}. .* do not delete it"):
        Features(tmp_path / "x.h5")


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EACCES])
def test_a_file_that_cannot_be_seen_is_not_taken_for_missing(
    dataset, tmp_path, monkeypatch, number
):
    """A folder of a network file system that is gone for a while: nothing is written in its
    place."""
    path = tmp_path / "x.h5"
    whole(path, dataset)
    really = Path.stat

    def no_stat(self, **how):
        if self.suffix == ".h5":
            raise OSError(number, os.strerror(number), str(self))
        return really(self, **how)

    monkeypatch.setattr(Path, "stat", no_stat)
    for use in (Features, must_be_free, lambda path: is_complete(path, IDENTITY)):
        with pytest.raises(UnavailableError, match=r"x\.h5 cannot be read: .* do not delete it"):
            use(path)
    with pytest.raises(UnavailableError, match=r"x\.partial\.h5 cannot be read: "):
        open_store(path, dataset)


class Refusing:
    """A file of which what is called `done` cannot be read."""

    def __init__(self, file: h5py.File, error: Exception) -> None:
        self._file, self._error = file, error
        self.close = file.close

    def __getitem__(self, name: str) -> None:
        raise self._error


@pytest.mark.parametrize("kind", [OSError, KeyError])
@pytest.mark.parametrize(("number", "is_refused"), [(errno.EIO, True), (errno.EINVAL, False)])
def test_an_unfinished_store_that_cannot_be_read(
    dataset, tmp_path, monkeypatch, kind, number, is_refused
):
    path = tmp_path / "x.h5"
    store = open_store(path, dataset)
    fill(store, 0, 9)
    store.close()
    text = f"Can't read (errno = {number}, error message = '{os.strerror(number)}')"
    really = storing.open_hdf5

    def open_it(path, mode):
        return Refusing(really(path, mode), kind(text)) if mode == "r+" else really(path, mode)

    monkeypatch.setattr(storing, "open_hdf5", open_it)
    with pytest.raises(EvaluateError, match=r"x\.partial\.h5 (cannot be read: |is dam)") as caught:
        open_store(path, dataset)
    assert isinstance(caught.value, UnavailableError) is is_refused
    monkeypatch.undo()
    assert open_store(path, dataset).done.sum() == 9


def test_features_of_others_are_no_store_of_an_earlier_version(tmp_path):
    """Nobody is told to delete them."""
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["features"] = np.ones((3, 2))
    with pytest.raises(EvaluateError, match=r"x\.h5 is an HDF5 file, but no feature store"):
        Features(tmp_path / "x.h5")


def spoil(path, clip: int, value: float) -> None:
    """What an earlier version stored: a clip, and so its video, that is no number."""
    with h5py.File(path, "r+") as file:
        file["clip_features"][clip, 1] = value
        file["features"][file["clip_video"][clip], 1] = value
        file.attrs.modify("sha256", storing._digest(file))
        file.attrs.modify("clips_sha256", storing._clips_digest(file))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_old_store_of_no_numbers_is_refused(dataset, tmp_path, value):
    path = tmp_path / "x.h5"
    whole(path, dataset)
    spoil(path, 7, value)
    name = re.escape(dataset.videos[3].name)
    with pytest.raises(EvaluateError, match=f"NaN or infinite: of 1 of 16 videos.* is {name}"):
        Features(path)
    with h5py.File(path, "r+") as file:  # in its clips alone
        file["features"][3, 1] = 1
        file.attrs.modify("sha256", storing._digest(file))
    with pytest.raises(EvaluateError, match=f"NaN or infinite: of 1 of 16 videos.* is {name}"):
        _ = Features(path).clip_features


@pytest.mark.parametrize(
    "value, what", [(np.nan, "NaN"), (np.inf, "infinite"), (3e38, "too large")]
)
def test_what_is_no_number_is_not_stored(dataset, tmp_path, value, what):
    store = open_store(tmp_path / "x.h5", dataset)
    fill(store, 0, 4)
    clips = np.ones((6, 3), np.float32)
    clips[3:, 2] = value
    number, clip = (6, "1 of 2 (frames 0 to 3)") if value == 3e38 else (5, "2 of 2 (frames 4 to 7)")
    wanted = (
        re.escape(f"features of {dataset.videos[number].name}, clip {clip}, are ") + ".*" + what
    )
    with pytest.raises(EvaluateError, match=wanted):
        store.write(4, 3, clips)
    store.close()
    store = open_store(tmp_path / "x.h5", dataset)
    assert store.done.sum() == 4
    fill(store, 4, 16)
    store.close()
    assert len(Features(tmp_path / "x.h5").clip_features) == 33


def test_an_unfinished_store_of_no_numbers_is_made_good(dataset, tmp_path):
    store = open_store(tmp_path / "x.h5", dataset)
    fill(store, 0, 9)
    store.close()
    with h5py.File(unfinished(tmp_path / "x.h5"), "r+") as file:
        file["features"][3] = np.nan
    store = open_store(tmp_path / "x.h5", dataset)
    assert np.flatnonzero(~store.done).tolist() == [3, *range(9, 16)]
    store.close()
