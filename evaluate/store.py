"""The feature store: one HDF5 file of one encoder's features of one data set.

    features        float32, videos x channels
    name            text, videos
    label           int64, videos; -1: unlabelled
    group           text, videos
    splits/1, ...   text, videos: "train", "test", ..., or "" where a video is in no part
    done            uint8, videos: 1 where the features are there
    attributes      everything that decides the features; a store is used again only if all match

The file is laid out in full before the first feature is written, so a kill at any moment leaves it
readable and costs the videos that were under way. It has its final name only when it is complete.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from builder.shard import Video

Identity = dict[str, str | int | float]


class FeatureStore:
    """A store being written."""

    def __init__(
        self, path: Path, videos: Sequence[Video], channels: int, identity: Identity
    ) -> None:
        """Go on with the unfinished store at `path` if it is of the same identity, else begin."""
        self.path = path
        self._partial = path.with_suffix(".partial.h5")
        path.parent.mkdir(parents=True, exist_ok=True)
        if not _is_of(self._partial, identity):
            _lay_out(self._partial, videos, channels, identity)
        self._file = h5py.File(self._partial, "r+")
        self.done: np.ndarray = self._file["done"][:].astype(bool)

    def write(self, first: int, features: np.ndarray) -> None:
        """Features (float32, N x channels) of the videos from `first` on."""
        places = slice(first, first + len(features))
        self._file["features"][places] = features
        self._file.flush()
        self._file["done"][places] = 1
        self._file.flush()
        self.done[places] = True

    def close(self) -> None:
        """Give the store its name if it is complete."""
        self._file.close()
        if self.done.all():
            self._partial.rename(self.path)


def is_complete(path: Path, identity: Identity) -> bool:
    """Whether there is a finished store at `path` with exactly this identity."""
    return _is_of(path, identity, complete=True)


def _is_of(path: Path, identity: Identity, complete: bool = False) -> bool:
    if not path.is_file():
        return False
    try:
        with h5py.File(path, "r") as file:
            own = {key: _plain(value) for key, value in file.attrs.items()}
            return own == identity and (not complete or bool(file["done"][:].all()))
    except OSError:  # no HDF5, or damaged
        return False


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _lay_out(path: Path, videos: Sequence[Video], channels: int, identity: Identity) -> None:
    fresh = path.with_suffix(".new")
    with h5py.File(fresh, "w") as file:
        text = h5py.string_dtype("utf-8")
        count = len(videos)
        for name, kind, shape in (
            ("features", "f4", (count, channels)),
            ("done", "u1", (count,)),
        ):
            space = h5py.h5s.create_simple(shape)
            layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            layout.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
            kind_id = h5py.h5t.py_create(np.dtype(kind))
            h5py.h5d.create(file.id, name.encode(), kind_id, space, layout)
        file["label"] = np.array([-1 if v.label is None else v.label for v in videos], np.int64)
        for name, values in (
            ("name", [v.name for v in videos]),
            ("group", [v.group for v in videos]),
        ):
            file.create_dataset(name, data=[_utf8(value) for value in values], dtype=text)
        for split in sorted({split for video in videos for split in video.splits}):
            parts = [video.splits.get(split, "") for video in videos]
            file.create_dataset(f"splits/{split}", data=parts, dtype=text)
        for key, value in identity.items():
            file.attrs[key] = value
    fresh.rename(path)


def _utf8(text: str) -> str:
    """File names that are no UTF-8 hold lone surrogates, which HDF5 cannot store."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


class Features:
    """A finished store, read into memory."""

    def __init__(self, path: Path) -> None:
        with h5py.File(path, "r") as file:
            self.features: np.ndarray = file["features"][:]  # float32, videos x channels
            self.names: list[str] = file["name"].asstr()[:].tolist()
            self.labels: np.ndarray = file["label"][:]  # int64, videos
            self.groups: list[str] = file["group"].asstr()[:].tolist()
            self.splits = {s: d.asstr()[:] for s, d in file.get("splits", {}).items()}
            self.attributes: Identity = {k: _plain(v) for k, v in file.attrs.items()}

    def part(self, split: str, part: str) -> np.ndarray:
        """Positions (int64) of the labelled videos of one part of a split."""
        return np.flatnonzero((self.splits[split] == part) & (self.labels >= 0))

    @property
    def counts(self) -> dict[str, Any]:
        """The data set's counts: expected, built, failed by reason."""
        return dict(json.loads(str(self.attributes["dataset_counts"])))
