import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from ascnet.encoders import EncoderChoice, newest_store
from evaluate.errors import EvaluateError
from tests.evaluate.stores import random_store


def keras(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["layer/kernel"] = np.ones(3)


def older_schema(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["features"] = np.ones((2, 2))
        file["done"] = np.ones(2, np.uint8)


def features_of_others(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["features"] = np.ones((2, 2))


@pytest.mark.parametrize(
    ("foreign", "said"),
    [
        (keras, "is an HDF5 file, but no feature store of ascnet."),
        (features_of_others, "is an HDF5 file, but no feature store of ascnet."),
        (older_schema, "is a feature store of schema 1, this ascnet reads"),
        (lambda path: path.write_text("no HDF5"), "is damaged, or no HDF5 file."),
        (lambda path: path.write_bytes(b""), "is damaged, or no HDF5 file."),
    ],
)
def test_a_newer_file_that_is_no_store_is_left_aside_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, foreign, said: str
) -> None:
    folder = tmp_path / "features"
    folder.mkdir()
    foreign(folder / "foreign.h5")
    with pytest.raises(EvaluateError, match=r"has no finished store .*foreign\.h5 is ") as caught:
        newest_store(EncoderChoice(tmp_path))
    assert said in str(caught.value)
    store = random_store(folder / "ours.h5", [2, 3], 4).path
    os.utime(folder / "foreign.h5", ns=(store.stat().st_mtime_ns + 10**9,) * 2)
    assert newest_store(EncoderChoice(tmp_path)) == store
    assert caplog.messages[0].startswith(f"Left aside: {folder / 'foreign.h5'} {said}")
    caplog.clear()
    os.utime(folder / "foreign.h5", ns=(0, 0))  # an older one does not matter
    assert newest_store(EncoderChoice(tmp_path)) == store
    assert not caplog.messages
