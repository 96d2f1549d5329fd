"""The feature store: one HDF5 file of one encoder's features of one data set.

features        float32, videos x channels: the mean over a video's clips
clip_features   float32, clips x channels
clip_video      int32, clips: position of the clip's video
clip_frames     int32, clips x 2: first and last frame of the clip in its video
clip_seconds    float64, clips x 2: when the first one begins and the last one ends; NaN where
                `fps` says it. Only where some video has unevenly spaced frames
duration        float64, videos: seconds; NaN where `fps` says it. Beside `clip_seconds`
name            text, videos
class           text, videos; "": unlabelled
label           int64, videos; -1: unlabelled
group           text, videos: source recording
fps             float64, videos: of the stored frames; NaN: unknown
frames          int64, videos
splits/1, ...   text, videos: "train", "test", ..., or "" where a video is in no part
factors/...     float64 or text, videos, where the data set knows what made its videos
done            uint8, videos: 1 where the features are there
attributes      everything that decides the features; a store is used again only if all match.
                Beside them stand `schema`, `shards` (where the data set was), `code` (the
                version of ascnet that began it), `device` and `torch` (what computed it, all of
                them if it was finished elsewhere) and checksums
"""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from builder.counted import counted
from evaluate.counts import are_counts
from evaluate.disk_errors import UnavailableError, is_there, must_be_available, open_hdf5
from evaluate.errors import EvaluateError
from evaluate.features.layout import (
    attributes,
    little_memory,
    must_be_ours,
    must_have_sound_texts,
    no_plugins,
    refused,
)
from evaluate.identity_check import first_difference

STORE_SCHEMA = 2
StoreIdentity = dict[str, str | int | float]

_NO_IDENTITY = ("schema", "shards", "code", "sha256", "clips_sha256")  # attributes
_CHUNK_BYTES = 1 << 20
_MOST_FRAMES = 2**31 - 1  # of a video; more do not fit their numbers
# What h5py raises for a damaged file depends on where the damage lies.
_OF_DAMAGE = (
    *(OSError, LookupError, RuntimeError, ValueError),
    *(TypeError, ArithmeticError, AttributeError, MemoryError),
)
NO_CHECKSUM = "0" * 64  # a checksum that is not there yet, of the length of one


def unfinished(path: Path) -> Path:
    """Where the store that will have this path is written."""
    return path.with_suffix(".partial.h5")


def is_complete(path: Path, identity: StoreIdentity) -> bool:
    """Whether there is a finished store at `path`. Raises EvaluateError if it is damaged, of
    another schema, or has another identity, and UnavailableError if that cannot be seen now."""
    if not is_there(path):
        return False
    must_be_of(path, identity)
    return True


def must_be_free(path: Path) -> None:
    """Raises UnavailableError if somebody has the store of this path open for writing, finished or
    not, or if the system does not let it be read."""
    for file in (path, unfinished(path)):
        try:
            if is_there(file):
                with _opened(file):
                    continue
        except UnavailableError:
            raise
        except EvaluateError:
            continue  # what else is wrong with it is told by whoever reads it


def must_be_of(path: Path, identity: StoreIdentity) -> None:
    """Raises EvaluateError, naming what differs, if a store is not of this identity."""
    with _opened(path) as file:
        stored = _identity_of(file)
    if difference := first_difference(stored, identity):
        raise EvaluateError(
            f"{path} was made with {difference}. Say --overwrite to extract the features anew, or "
            "move the file away to keep it."
        )


def identity_in(path: Path) -> StoreIdentity:
    """What decided the features of a store; nothing else of it is read. Raises EvaluateError if
    there is none, or it is damaged, and UnavailableError if it is in use."""
    with _opened(path) as file:
        return _identity_of(file)


class Features:
    """A finished store, read into memory; what is of clips is read when it is first used.

    Raises EvaluateError if there is none at `path`, or it is damaged, unfinished or of another
    schema, or holds what is no number, and UnavailableError if it is in use.
    """

    def __repr__(self) -> str:
        videos, clips = counted(len(self.names), "video"), counted(len(self.clip_video), "clip")
        return f"<Features {self.path}: {videos}, {clips}>"

    def __init__(self, path: Path) -> None:
        self.path = path
        with _opened(path) as file:
            if file.attrs["sha256"] == NO_CHECKSUM:
                done = int(file["done"][:].sum())
                raise EvaluateError(
                    f"{path} is not finished: it has features of {done} of {len(file['done'])} "
                    "videos. Give the command that wrote it again, and it goes on."
                )
            if file.attrs["sha256"] != checksum(file):
                raise EvaluateError(_changed(path))
            self.features: np.ndarray = file["features"][:]  # float32, videos x channels
            self.names: list[str] = _values(file["name"]).tolist()
            self.class_of: list[str] = _values(file["class"]).tolist()  # "": unlabelled
            self.labels: np.ndarray = file["label"][:]  # int64, videos; -1: unlabelled
            self.groups: list[str] = _values(file["group"]).tolist()
            self.fps: np.ndarray = file["fps"][:]  # float64, videos; NaN: unknown
            self.frames: np.ndarray = file["frames"][:]  # int64, videos
            self.splits = {s: _values(d) for s, d in file.get("splits", {}).items()}
            self.factors = {f: _values(d) for f, d in file.get("factors", {}).items()}
            self.clip_video: np.ndarray = file["clip_video"][:]  # int32, clips
            self.clip_frames: np.ndarray = file["clip_frames"][:]  # int32, clips x 2
            self._clip_seconds = file["clip_seconds"][:] if "clip_seconds" in file else None
            with np.errstate(divide="ignore", over="ignore"):  # told below
                even = self.frames / self.fps  # float64, videos
            timed = file["duration"][:] if "duration" in file else np.nan
            self.duration: np.ndarray = np.where(np.isnan(timed), even, timed)  # NaN: unknown
            self.attributes: StoreIdentity = _identity_of(file)
            self.checksum = str(file.attrs["sha256"])  # of all that is of videos
            self.place = str(file.attrs["shards"])  # where the data set was: a folder, a URL, ...
            self.code = str(file.attrs["code"])  # the version of ascnet that began it
            if wrong := self._wrong_number():
                raise EvaluateError(refused(path, wrong))
        self._must_be_finite(self.features, np.arange(len(self.names)))

    def _wrong_number(self) -> str:
        """What is no position, time or label, for the middle of a sentence; "" if all are."""
        of, (first, last) = self.clip_video, self.clip_frames.T
        if not ((of >= 0) & (of < len(self.names))).all() or (of[1:] < of[:-1]).any():
            return "its clips are of videos that it does not have"
        spans = np.empty((0, 2)) if self._clip_seconds is None else self._clip_seconds
        begin, end = spans.T
        time = self.duration
        are_fine = {
            "numbers of frames": (self.frames > 0) & (self.frames <= _MOST_FRAMES),
            "first and last frames": (first >= 0) & (first <= last) & (last < self.frames[of]),
            "labels": self.labels >= -1,
            "frame rates": np.isnan(self.fps) | ((self.fps > 0) & (self.fps < np.inf)),
            "durations": np.isnan(time) | ((time >= 0) & (time < np.inf)),
            "times": np.isnan(spans).all(axis=1) | ((begin >= 0) & (begin <= end) & (end < np.inf)),
        }
        wrong = [name for name, fine in are_fine.items() if not fine.all()]
        return f"its {wrong[0]} are none" if wrong else ""

    @cached_property
    def clip_features(self) -> np.ndarray:
        """float32, clips x channels."""
        with _opened(self.path) as file:
            if file.attrs["clips_sha256"] != clips_checksum(file):
                raise EvaluateError(_changed(self.path))
            features: np.ndarray = file["clip_features"][:]
        self._must_be_finite(features, self.clip_video)
        return features

    def _must_be_finite(self, rows: np.ndarray, video_of: np.ndarray) -> None:
        """Earlier versions stored what is no number; every figure of it would be of no worth."""
        # Any NaN or infinity makes a sum one, too; it is looked for only where there is one.
        step = max(1, _CHUNK_BYTES // (4 * max(1, rows.shape[1])))
        sums = (rows[i : i + step].sum(dtype=np.float64) for i in range(0, len(rows), step))
        with np.errstate(over="ignore", invalid="ignore"):
            if all(np.isfinite(total) for total in sums):
                return
        videos = np.unique(video_of[~np.isfinite(rows).all(axis=1)])
        raise EvaluateError(
            f"{self.path} holds features that are NaN or infinite: of {len(videos)} of "
            f"{len(self.names)} videos, the first is {self.names[videos[0]]}. The weights it was "
            "made with are damaged, or numbers overflowed in the network. Extract the features "
            "anew with other weights, or with --overwrite if the fault was the machine's."
        )

    @property
    def shards(self) -> Path | None:
        """The folder of the data set, which may be gone; None: its shards were streamed."""
        is_remote = self.place.startswith("pipe:") or "://" in self.place
        return None if is_remote else Path(self.place)

    def part(self, split: str, part: str) -> np.ndarray:
        """Positions (int64) of the labelled videos of one part of a split; none if there is no
        such split."""
        if split not in self.splits:
            return np.empty(0, np.int64)
        return np.flatnonzero((self.splits[split] == part) & (self.labels >= 0))

    def seconds(self, clip: int) -> tuple[float, float] | None:
        """When a clip begins and ends in its video; None if the video's frame rate is unknown."""
        if self._clip_seconds is not None and not np.isnan(self._clip_seconds[clip, 0]):
            begin, end = self._clip_seconds[clip]
            return float(begin), float(end)
        fps = self.fps[self.clip_video[clip]]
        if np.isnan(fps):
            return None
        first, last = self.clip_frames[clip]
        return float(first / fps), float((last + 1) / fps)

    @property
    def counts(self) -> dict[str, Any]:
        """The data set's counts: expected, built, failed by reason."""
        try:
            counts: dict[str, Any] = json.loads(str(self.attributes["dataset_counts"]))
        except (ValueError, RecursionError):
            counts = {"": None}
        if not are_counts(counts):
            raise EvaluateError(_changed(self.path))
        return counts


def _changed(path: Path) -> str:
    return (
        f"{path} was changed or damaged after it was written: its checksum is another. Copy it "
        "again, or delete it and extract the features anew."
    )


@contextmanager
def _opened(path: Path) -> Iterator[h5py.File]:
    """A store for reading. Raises EvaluateError if it is none, or damaged, and UnavailableError if
    the system does not let it be read."""
    if not is_there(path):
        raise EvaluateError(
            f"There is no feature store {path}. `ascnet evaluate` writes one for a run, "
            "`ascnet embed` one for any videos."
        )
    with reading(path), no_plugins(), ExitStack() as opened:
        must_have_sound_texts(path)
        with little_memory():
            file = opened.enter_context(open_hdf5(path, "r"))
            _must_be_a_store(file, path)
        yield file


def _must_be_a_store(file: h5py.File, path: Path) -> None:
    schema = attributes(file, path).get("schema")
    is_store = all(file.id.links.exists(name) for name in (b"features", b"done"))
    if schema != STORE_SCHEMA and is_store:
        raise EvaluateError(
            f"{path} is a feature store of schema {schema or 1}, this ascnet reads {STORE_SCHEMA}. "
            "Delete it and extract the features anew, or install the ascnet that wrote it."
        )
    if schema != STORE_SCHEMA:
        raise EvaluateError(f"{path} is an HDF5 file, but no feature store of ascnet.")
    must_be_ours(file, path)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Raises EvaluateError for what h5py raises for a damaged file, and UnavailableError if the
    system does not let it be read."""
    try:
        yield
    except EvaluateError:
        raise
    except _OF_DAMAGE as error:
        must_be_available(path, error)
        raise EvaluateError(
            f"{path} is damaged, or no HDF5 file. Copy it again, or delete it and extract the "
            "features anew."
        ) from error


def _identity_of(file: h5py.File) -> StoreIdentity:
    return {
        key: value.item() if isinstance(value, np.generic) else value
        for key, value in file.attrs.items()
        if key not in _NO_IDENTITY
    }


def _values(data: h5py.Dataset) -> np.ndarray:
    return np.asarray(data.asstr()[:] if h5py.check_string_dtype(data.dtype) else data[:])


def checksum(file: h5py.File) -> str:
    """sha256 of all but the features of clips, whose file may be large."""
    digest = sha256(json.dumps(_identity_of(file), sort_keys=True).encode())

    def add(name: str, item: h5py.Dataset | h5py.Group) -> None:
        if isinstance(item, h5py.Dataset) and name != "clip_features":
            digest.update(name.encode())
            values = _values(item)
            is_text = values.dtype == object
            digest.update(json.dumps(values.tolist()).encode() if is_text else values.tobytes())

    file.visititems(add)
    return digest.hexdigest()


def clips_checksum(file: h5py.File) -> str:
    data, digest = file["clip_features"], sha256()
    rows = max(1, (64 << 20) // (4 * data.shape[1]))
    for first in range(0, len(data), rows):
        digest.update(data[first : first + rows].tobytes())
    return digest.hexdigest()
