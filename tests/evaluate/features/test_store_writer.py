import errno
import os
import re
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from builder.atomic import partial_of
from builder.shards.dataset import ShardDataset
from evaluate.disk_errors import UnavailableError
from evaluate.errors import EvaluateError
from evaluate.features import store_writer
from evaluate.features.store import Features, unfinished
from evaluate.search.search import span_text
from tests.evaluate.features.counting_store import fill, open_store, whole
from tests.processes import start


def test_it_has_its_name_once_it_is_complete(dataset, tmp_path):
    path = tmp_path / "x.h5"
    beginning = partial_of(unfinished(path))  # as a kill while it is laid out leaves it
    beginning.write_bytes(b"HDF")
    store = open_store(path, dataset, done=9)
    assert not beginning.exists()
    file = unfinished(path).stat()
    assert file.st_blocks * 512 >= file.st_size  # all space is taken before the first feature
    store.close()
    assert not path.exists()
    store = open_store(path, dataset)
    assert store.done.sum() == 9
    fill(store, 9, 16)
    assert not path.exists()
    store.close()
    assert path.stat().st_size == file.st_size
    whole(tmp_path / "y.h5", dataset)
    resumed, at_once = Features(path), Features(tmp_path / "y.h5")
    assert (resumed.features == at_once.features).all()
    assert (resumed.clip_features == at_once.clip_features).all()


def test_videos_in_any_order_are_written_as_one_by_one(dataset, tmp_path):
    store = open_store(tmp_path / "x.h5", dataset)
    for videos in ([3, 4, 5, 1, 0, 9], [2], [15, 14, *range(6, 9), *range(10, 14)]):
        numbers = [[i, i + 1] + [i + 5] * (i == 1) for i in videos]
        rows = np.repeat(np.concatenate(numbers)[:, None], 3, axis=1).astype(np.float32)
        assert not store.done[videos].any()
        store.write(videos, rows)
        assert store.done[videos].all()
    store.close()
    whole(tmp_path / "y.h5", dataset)
    at_once, one_by_one = Features(tmp_path / "x.h5"), Features(tmp_path / "y.h5")
    assert (at_once.features == one_by_one.features).all()
    assert (at_once.clip_features == one_by_one.clip_features).all()
    assert at_once.checksum == one_by_one.checksum


def write_slowly(path: Path, shards: Path) -> None:
    store = open_store(path, ShardDataset(shards))
    for i in range(16):
        fill(store, i, i + 1)
        print(i, flush=True)
        time.sleep(0.05)


def test_killed_while_writing(dataset, tmp_path):
    path = tmp_path / "x.h5"
    process = start(write_slowly, path, dataset.folder, cwd=tmp_path)
    while "6\n" not in process.said() and process.runs():
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.end()
    store = open_store(path, dataset)
    done = int(store.done.sum())
    assert done >= 7
    fill(store, done, 16)
    store.close()
    whole(tmp_path / "y.h5", dataset)
    assert (Features(path).clip_features == Features(tmp_path / "y.h5").clip_features).all()


def test_factors_are_stored(dataset, tmp_path):
    known = [{"tempo": 1.5, "family": "dots"}, {"tempo": 2, "family": "lines"}, None]
    videos = [replace(v, factors=f) for v, f in zip(dataset.videos, known, strict=False)]
    whole(tmp_path / "x.h5", dataset, videos)
    factors = Features(tmp_path / "x.h5").factors
    assert factors["family"].tolist() == ["dots", "lines", ""]
    assert factors["tempo"][:2].tolist() == [1.5, 2.0] and np.isnan(factors["tempo"][2])


def test_names_that_are_no_utf8_and_an_unknown_frame_rate(dataset, tmp_path):
    odd = replace(dataset.videos[0], name="a\udcff.avi", fps=None)
    whole(tmp_path / "x.h5", dataset, [odd])
    read = Features(tmp_path / "x.h5")
    assert read.names == ["a\\udcff.avi"] and read.seconds(0) is None


def test_time_codes_follow_frame_times(dataset, tmp_path):
    times = (0.0, 0.1, 0.2, 0.5, 0.6, 1.6, 1.7, 1.8)
    uneven = replace(dataset.videos[0], frames=8, times=times, fps=7 / 1.8)
    even = replace(dataset.videos[1], fps=25.0)
    whole(tmp_path / "x.h5", dataset, [uneven, even])
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


def test_a_full_disk_is_one_sentence(dataset, tmp_path, monkeypatch):
    """Told before HDF5 begins to write; when there is room, the store is made."""
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=50_000))
    with pytest.raises(EvaluateError, match=r"will take 2\.1 MB, and its disk has 0\.1 MB left"):
        open_store(tmp_path / "x.h5", dataset)
    monkeypatch.undo()
    for number, text in ((errno.ENOSPC, "No space left"), (errno.EDQUOT, "(Disk q|Q)uota exceed")):

        def refuse(*place: int, number=number) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(os, "posix_fallocate", refuse)
        monkeypatch.setattr(h5py, "File", lambda *_: pytest.fail("HDF5 began to write"))
        with pytest.raises(
            EvaluateError, match=rf"Cannot write .*x\.partial\.h5: {text}.*Free space"
        ):
            open_store(tmp_path / "x.h5", dataset)
        assert not list(tmp_path.iterdir())
        monkeypatch.undo()
    whole(tmp_path / "x.h5", dataset)
    assert len(Features(tmp_path / "x.h5").names) == 16


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
    open_store(path, dataset, done=9).close()
    text = f"Can't read (errno = {number}, error message = '{os.strerror(number)}')"
    really = store_writer.open_hdf5
    monkeypatch.setattr(
        store_writer, "open_hdf5", lambda path, mode: Refusing(really(path, mode), kind(text))
    )
    with pytest.raises(EvaluateError, match=r"x\.partial\.h5 (cannot be read: |is dam)") as caught:
        open_store(path, dataset)
    assert isinstance(caught.value, UnavailableError) is is_refused
    monkeypatch.undo()
    assert open_store(path, dataset).done.sum() == 9


@pytest.mark.parametrize(
    "value, what", [(np.nan, "NaN"), (np.inf, "infinite"), (3e38, "too large")]
)
def test_what_is_no_number_is_not_stored(dataset, tmp_path, value, what):
    store = open_store(tmp_path / "x.h5", dataset, done=4)
    clips = np.ones((6, 3), np.float32)
    clips[3:, 2] = value
    number, clip = (6, "1 of 2 (frames 0 to 3)") if value == 3e38 else (5, "2 of 2 (frames 4 to 7)")
    named = re.escape(f"features of {dataset.videos[number].name}, clip {clip}, are ")
    with pytest.raises(EvaluateError, match=f"{named}.*{what}"):
        store.write([4, 5, 6], clips)
    store.close()
    store = open_store(tmp_path / "x.h5", dataset)
    assert store.done.sum() == 4
    fill(store, 4, 16)
    store.close()
    assert len(Features(tmp_path / "x.h5").clip_features) == 33


def test_an_unfinished_store_of_no_numbers_is_made_good(dataset, tmp_path):
    open_store(tmp_path / "x.h5", dataset, done=9).close()
    with h5py.File(unfinished(tmp_path / "x.h5"), "r+") as file:
        file["features"][3] = np.nan
    store = open_store(tmp_path / "x.h5", dataset)
    assert np.flatnonzero(~store.done).tolist() == [3, *range(9, 16)]
    store.close()
