import os
import signal
import subprocess
import sys
import time

import h5py
import numpy as np

from evaluate.store import Features, FeatureStore, is_complete

IDENTITY = {"encoder": "trained", "clips": 5, "dataset_counts": '{"expected": 16}'}


def fill(store: FeatureStore, first: int, last: int) -> None:
    for i in range(first, last):
        store.write(i, np.full((1, 3), i, np.float32))


def test_write_and_read(dataset, tmp_path):
    path = tmp_path / "a" / "x.h5"
    store = FeatureStore(path, dataset.videos, 3, IDENTITY)
    fill(store, 0, 16)
    assert not path.exists()
    store.close()
    assert is_complete(path, IDENTITY)
    read = Features(path)
    assert read.features.tolist() == [[i] * 3 for i in range(16)]
    assert read.names == [video.name for video in dataset.videos]
    assert read.groups == [video.group for video in dataset.videos]
    assert read.labels.tolist() == [video.label for video in dataset.videos]
    assert read.attributes == IDENTITY
    assert read.counts == {"expected": 16}
    train, test = read.part("1", "train"), read.part("1", "test")
    assert sorted([*train, *test]) == list(range(16))
    assert all(dataset.videos[i].splits["1"] == "test" for i in test)


def test_any_hdf5_reader_reads_it(dataset, tmp_path):
    store = FeatureStore(tmp_path / "x.h5", dataset.videos, 3, IDENTITY)
    fill(store, 0, 16)
    store.close()
    with h5py.File(tmp_path / "x.h5") as file:
        assert file["features"].shape == (16, 3)
        assert file["name"].asstr()[0] == dataset.videos[0].name
        assert file["splits/1"].asstr()[0] == dataset.videos[0].splits["1"]
        assert file.attrs["clips"] == 5


def test_only_of_exactly_this_identity(dataset, tmp_path):
    path = tmp_path / "x.h5"
    store = FeatureStore(path, dataset.videos, 3, IDENTITY)
    fill(store, 0, 16)
    store.close()
    assert not is_complete(path, IDENTITY | {"clips": 10})
    assert not is_complete(path, IDENTITY | {"more": 1})
    assert not is_complete(tmp_path / "absent.h5", IDENTITY)
    (tmp_path / "broken.h5").write_bytes(b"\x89HDF broken")
    assert not is_complete(tmp_path / "broken.h5", IDENTITY)


def test_an_unfinished_store_goes_on_or_begins_anew(dataset, tmp_path):
    path = tmp_path / "x.h5"
    store = FeatureStore(path, dataset.videos, 3, IDENTITY)
    fill(store, 0, 9)
    store.close()
    assert not path.exists()
    store = FeatureStore(path, dataset.videos, 3, IDENTITY)
    assert store.done.sum() == 9
    store.close()
    store = FeatureStore(path, dataset.videos, 3, IDENTITY | {"clips": 10})
    assert store.done.sum() == 0
    store.close()


def test_killed_while_writing(dataset, tmp_path):
    path = tmp_path / "x.h5"
    program = (
        "import sys, time\nimport numpy as np\nfrom pathlib import Path\n"
        "from builder.shard import ShardDataset\nfrom evaluate.store import FeatureStore\n"
        "videos = ShardDataset(Path(sys.argv[2])).videos\n"
        f"store = FeatureStore(Path(sys.argv[1]), videos, 3, {IDENTITY})\n"
        "for i in range(16):\n"
        "    store.write(i, np.full((1, 3), i, np.float32))\n"
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
    store = FeatureStore(path, dataset.videos, 3, IDENTITY)
    done = int(store.done.sum())
    assert done >= 7
    fill(store, done, 16)
    store.close()
    assert Features(path).features[:, 0].tolist() == list(range(16))


def test_names_that_are_no_utf8(dataset, tmp_path):
    odd = type(dataset.videos[0])(**{**dataset.videos[0].__dict__, "name": "a\udcff.avi"})
    store = FeatureStore(tmp_path / "x.h5", [odd], 3, IDENTITY)
    fill(store, 0, 1)
    store.close()
    assert Features(tmp_path / "x.h5").names == ["a\\udcff.avi"]


def test_a_store_with_empty_rows_is_not_complete(dataset, tmp_path):
    store = FeatureStore(tmp_path / "x.h5", dataset.videos, 3, IDENTITY)
    fill(store, 0, 9)
    store.close()
    (tmp_path / "x.partial.h5").rename(tmp_path / "x.h5")
    assert not is_complete(tmp_path / "x.h5", IDENTITY)
