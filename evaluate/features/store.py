"""The feature store: one HDF5 file with the features of one encoder on one data set.

features        float32, videos x channels: the mean over a video's clips
clip_features   float32, clips x channels
clip_video      int32, clips: position of the clip's video
clip_frames     int32, clips x 2: first and last frame of the clip in its video
clip_seconds    float64, clips x 2: start of the first frame and end of the last one; NaN: given by
                `fps`. Present only if some video has unevenly spaced frames
duration        float64, videos: seconds; NaN: given by `fps`. Present with `clip_seconds`
name            string, videos
class           string, videos; "": unlabelled
label           int64, videos; -1: unlabelled
group           string, videos: source recording
fps             float64, videos: rate of the stored frames; NaN: unknown
frames          int64, videos
splits/1, ...   string, videos: "train", "test", ..., or "" for a video in no part
factors/...     float64 or string, videos: known factors of generated videos
done            uint8, videos: 1 if the features are stored
attributes      the identity, that is, everything that determines the features (a store is reused
                only if all match), and `schema`, `shards` (location of the data set), `code`
                (version of ascnet that began it), `device` and `torch` (all that were used) and
                checksums
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
from builder.shards.manifest import DATASET_FILE, fingerprint
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

_NO_IDENTITY = ("schema", "shards", "code", "sha256", "clips_sha256")  # other attributes
_CHUNK_BYTES = 1 << 20
_MOST_FRAMES = 2**31 - 1  # of a video; frame numbers are int32
# Exceptions that h5py raises for damaged files, depending on where the damage is.
_OF_DAMAGE = (
    *(OSError, LookupError, RuntimeError, ValueError),
    *(TypeError, ArithmeticError, AttributeError, MemoryError),
)
_SIGNATURE = b"\x89HDF\r\n\x1a\n"  # of HDF5 files
NO_CHECKSUM = "0" * 64  # in place of the checksums of an unfinished store


def unfinished(path: Path) -> Path:
    """The path at which the store `path` is written until it is complete."""
    return path.with_suffix(".partial.h5")


def is_complete(path: Path, identity: StoreIdentity) -> bool:
    """Whether there is a finished store at `path`. Raises EvaluateError if it is damaged or has
    another schema or identity, and UnavailableError if it cannot be read now."""
    if not is_there(path):
        return False
    must_be_of(path, identity)
    return True


def must_be_free(path: Path) -> None:
    """Raise UnavailableError if another process has the store at `path`, finished or not, open for
    writing, or if the system denies access."""
    for file in (path, unfinished(path)):
        try:
            if is_there(file):
                with _opened(file):
                    continue
        except UnavailableError:
            raise
        except EvaluateError:
            continue  # other errors are reported when it is read


def must_be_of(path: Path, identity: StoreIdentity) -> None:
    """Raise EvaluateError, with the difference, if a store has another identity."""
    with _opened(path) as file:
        stored = _identity_of(file)
    if difference := first_difference(stored, identity):
        raise EvaluateError(
            f"{path} was made with {difference}. Pass --overwrite to replace it, or move the file "
            "away to keep it."
        )


def identity_in(path: Path) -> StoreIdentity:
    """The identity of a store; its features are not read. Raises EvaluateError if it does not exist
    or is damaged, and UnavailableError if it is in use."""
    with _opened(path) as file:
        return _identity_of(file)


class Features:
    """A finished store, read into memory; clip features are read when first used.

    Raises EvaluateError if there is none at `path`, if it is damaged, unfinished or of another
    schema, or if it contains NaN or infinite features, and UnavailableError if it is in use.
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
                    "videos. Repeat the command that wrote it; it continues."
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
            with np.errstate(divide="ignore", over="ignore"):  # checked below
                even = self.frames / self.fps  # float64, videos
            timed = file["duration"][:] if "duration" in file else np.nan
            self.duration: np.ndarray = np.where(np.isnan(timed), even, timed)  # NaN: unknown
            self.attributes: StoreIdentity = _identity_of(file)
            self.checksum = str(file.attrs["sha256"])  # of everything but clip_features
            self.place = str(
                file.attrs["shards"]
            )  # location of the data set: folder, URL or command
            self.code = str(file.attrs["code"])  # the version of ascnet that began it
            if wrong := self._wrong_number():
                raise EvaluateError(refused(path, wrong))
        self._must_be_finite(self.features, np.arange(len(self.names)))

    def _wrong_number(self) -> str:
        """The first array with invalid positions, times or labels, worded for the middle of a
        sentence; "" if all are valid."""
        of, (first, last) = self.clip_video, self.clip_frames.T
        if not ((of >= 0) & (of < len(self.names))).all() or (of[1:] < of[:-1]).any():
            return "its clips belong to videos that it does not have"
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
        return f"its {wrong[0]} are invalid" if wrong else ""

    @cached_property
    def clip_features(self) -> np.ndarray:
        """float32, clips x channels. Raises EvaluateError if they are damaged, NaN or infinite."""
        with _opened(self.path) as file:
            if file.attrs["clips_sha256"] != clips_checksum(file):
                raise EvaluateError(_changed(self.path))
            features: np.ndarray = file["clip_features"][:]
        self._must_be_finite(features, self.clip_video)
        return features

    def _must_be_finite(self, rows: np.ndarray, video_of: np.ndarray) -> None:
        """Earlier versions stored NaN and infinite features, which make all figures meaningless."""
        # The sum of a block is not finite if one of its features is not.
        step = max(1, _CHUNK_BYTES // (4 * max(1, rows.shape[1])))
        sums = (rows[i : i + step].sum(dtype=np.float64) for i in range(0, len(rows), step))
        with np.errstate(over="ignore", invalid="ignore"):
            if all(np.isfinite(total) for total in sums):
                return
        videos = np.unique(video_of[~np.isfinite(rows).all(axis=1)])
        raise EvaluateError(
            f"{self.path} has NaN or infinite features for {len(videos)} of {len(self.names)} "
            f"videos; the first is {self.names[videos[0]]}. The weights are damaged, or numbers "
            "overflowed in the network. Extract the features with other weights, or with "
            "--overwrite if the machine was at fault."
        )

    @property
    def shards(self) -> Path | None:
        """The folder of the data set, which may no longer exist; None if its shards were streamed.
        For a store that was moved together with its shards (`ascnet embed`), their folder now."""
        if self.place.startswith("pipe:") or "://" in self.place:
            return None
        recorded, beside = Path(self.place), self.path.absolute().with_suffix(".shards")
        is_moved = not (recorded / DATASET_FILE).is_file() and (beside / DATASET_FILE).is_file()
        if is_moved and fingerprint(beside) == self.attributes.get("dataset_sha256"):
            return beside
        return recorded

    def part(self, split: str, part: str) -> np.ndarray:
        """Positions (int64) of the labelled videos in one part of a split; empty if there is no
        such split."""
        if split not in self.splits:
            return np.empty(0, np.int64)
        return np.flatnonzero((self.splits[split] == part) & (self.labels >= 0))

    def seconds(self, clip: int) -> tuple[float, float] | None:
        """Start and end of a clip in its video, in seconds; None if the video's frame rate is
        unknown."""
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
        """The data set's counts: expected, built, failed by reason. Raises EvaluateError if they
        are damaged."""
        try:
            counts: dict[str, Any] = json.loads(str(self.attributes["dataset_counts"]))
        except (ValueError, RecursionError):
            counts = {"": None}
        if not are_counts(counts):
            raise EvaluateError(_changed(self.path))
        return counts


def _changed(path: Path) -> str:
    return (
        f"{path} was changed or damaged after it was written: its checksum does not match. Copy it "
        "again, or delete it and extract the features again."
    )


@contextmanager
def _opened(path: Path) -> Iterator[h5py.File]:
    """Open a store for reading. Raises EvaluateError if it is damaged or not a store, and
    UnavailableError if the system denies access."""
    if not is_there(path):
        raise EvaluateError(
            f"There is no feature store {path}. `ascnet evaluate` writes stores for a run, `ascnet "
            "embed` for any videos."
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
            f"{path} is a feature store of schema {schema or 1}; this version of ascnet reads "
            f"schema {STORE_SCHEMA}. Delete it and extract the features again, or install the "
            "version that wrote it."
        )
    if schema != STORE_SCHEMA:
        raise EvaluateError(f"{path} is an HDF5 file, but not a feature store of ascnet.")
    must_be_ours(file, path)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn the exceptions of h5py for a damaged file into EvaluateError, and denied access into
    UnavailableError."""
    try:
        yield
    except EvaluateError:
        raise
    except _OF_DAMAGE as error:
        must_be_available(path, error)
        if not _begins_as_hdf5(path):
            raise EvaluateError(
                f"{path} is not a feature store, as it is no HDF5 file. `ascnet embed` and `ascnet "
                "evaluate` write stores; if it was one, it is damaged: extract the features again."
            ) from error
        raise EvaluateError(
            f"{path} is damaged. Copy it again, or delete it and extract the features again."
        ) from error


def _begins_as_hdf5(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_SIGNATURE)) == _SIGNATURE


def _identity_of(file: h5py.File) -> StoreIdentity:
    return {
        key: value.item() if isinstance(value, np.generic) else value
        for key, value in file.attrs.items()
        if key not in _NO_IDENTITY
    }


def _values(data: h5py.Dataset) -> np.ndarray:
    return np.asarray(data.asstr()[:] if h5py.check_string_dtype(data.dtype) else data[:])


def checksum(file: h5py.File) -> str:
    """SHA-256 of everything but clip_features, which may be large."""
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
    """SHA-256 of clip_features."""
    data, digest = file["clip_features"], sha256()
    rows = max(1, (64 << 20) // (4 * data.shape[1]))
    for first in range(0, len(data), rows):
        digest.update(data[first : first + rows].tobytes())
    return digest.hexdigest()
