"""The feature store: one HDF5 file of one encoder's features of one data set. The only file that
knows it.

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
                    version of ascnet that began it) and checksums

All space is there before the first feature is written, so a kill at any moment leaves the file
readable and costs the videos that were under way. It has its final name only when it is complete.
"""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from builder.atomic import give_name, must_be_own, partial_of, partials_in
from builder.shards.dataset import Video
from evaluate.counts import are_counts
from evaluate.disk_errors import (
    UnavailableError,
    is_there,
    must_be_available,
    must_have_room,
    open_hdf5,
    writing,
)
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
Spans = Sequence[Sequence[tuple[int, int]]]  # of every video's clips: first and last frame

_OWN = ("schema", "shards", "code", "sha256", "clips_sha256")  # attributes that are no identity
_CHUNK_BYTES = 1 << 20
_MOST_FRAMES = 2**31 - 1  # of a video; more do not fit their numbers
_VIDEO_BYTES, _CLIP_BYTES = 512, 28  # of names and numbers, about
# What h5py raises for a damaged file depends on where the damage lies.
_OF_DAMAGE = (
    OSError,
    LookupError,
    RuntimeError,
    ValueError,
    TypeError,
    ArithmeticError,
    AttributeError,
    MemoryError,
)
_UNKNOWN = "0" * 64  # a checksum that is not there yet, of the length of one


@dataclass(frozen=True)
class Origin:
    """Where features come from, but for what decides them."""

    shards: Path  # folder of the data set
    code: str  # version and commit


class FeatureStore:
    """A store being written."""

    def __init__(
        self,
        path: Path,
        videos: Sequence[Video],
        spans: Spans,
        channels: int,
        identity: StoreIdentity,
        origin: Origin,
    ) -> None:
        """Go on with the unfinished store at `path`, or begin one. Raises EvaluateError if the
        unfinished one is of another identity, or if the disk refuses."""
        self.path = path
        self._partial = unfinished(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        is_begun = is_there(self._partial)
        if is_begun:
            must_be_own(self._partial)
            must_be_of(self._partial, identity)
        with writing(self._partial):
            if not is_begun:
                _clear(self._partial)  # of what was killed
                try:
                    _lay_out(self._partial, videos, spans, channels, identity, origin)
                finally:
                    _clear(self._partial)
            self._file = open_hdf5(self._partial, "r+")
        try:
            with _reading(self._partial):
                self._must_be_of_these(videos, sum(map(len, spans)), channels)
                self.done: np.ndarray = self._file["done"][:].astype(bool)
                if self.done.any():  # earlier versions kept what is no number
                    self.done &= np.isfinite(self._file["features"][:]).all(axis=1)
        except BaseException:
            self._file.close()
            raise
        self._videos, self._spans = videos, spans
        self._first_clip = np.concatenate([[0], np.cumsum([len(own) for own in spans])])

    def _must_be_of_these(self, videos: Sequence[Video], clips: int, channels: int) -> None:
        """Its identity may be right, and what it holds of others."""
        names, shape = self._file["name"].asstr()[:].tolist(), self._file["clip_features"].shape
        if shape == (clips, channels) and names == [_utf8(video.name) for video in videos]:
            return
        raise EvaluateError(
            f"{self._partial} was changed: it is not of these {len(videos)} videos and {clips} "
            f"clips with {channels} features. Delete it, and give the same command again."
        )

    def write(self, first: int, count: int, clip_features: np.ndarray) -> None:
        """Features (float32, clips x channels) of all clips of `count` videos from `first` on.
        Raises EvaluateError, and keeps none of them, if they are not finite."""
        bounds = self._first_clip[first : first + count + 1]
        own = [clip_features[a - bounds[0] : b - bounds[0]] for a, b in pairwise(bounds)]
        for video, clips in enumerate(own, first):
            self._must_be_finite(video, clips)
        with writing(self._partial):
            self._file["clip_features"][bounds[0] : bounds[-1]] = clip_features
            self._file["features"][first : first + count] = np.stack([x.mean(axis=0) for x in own])
            self._file.flush()
            self._file["done"][first : first + count] = 1
            self._file.flush()
        self.done[first : first + count] = True

    def _must_be_finite(self, video: int, clips: np.ndarray) -> None:
        is_finite = np.isfinite(clips).all(axis=1)
        with np.errstate(over="ignore", invalid="ignore"):
            if is_finite.all() and np.isfinite(clips.mean(axis=0)).all():
                return
        clip = int(is_finite.argmin())  # the first; of finite ones whose mean overflows, too
        first, last = self._spans[video][clip]
        what = "NaN" if np.isnan(clips[clip]).any() else "infinite or too large"
        raise EvaluateError(
            f"The features of {_utf8(self._videos[video].name)}, clip {clip + 1} of "
            f"{len(clips)} (frames {first} to {last}), are {what}: the weights are damaged, or "
            "numbers overflow in the network. They are not kept. See whether training diverged "
            "(its log.jsonl), and take an earlier checkpoint or other weights."
        )

    def close(self) -> None:
        """Give the store its name, with its checksums, if it is complete."""
        complete = bool(self.done.all())
        with writing(self._partial):
            if complete:
                self._file.attrs.modify("sha256", _digest(self._file))
                self._file.attrs.modify("clips_sha256", _clips_digest(self._file))
            self._file.close()
        if complete:
            give_name(self._partial, self.path)


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
        own = _identity_of(file)
    if difference := first_difference(own, identity):
        raise EvaluateError(
            f"{path} was made with {difference}. Say --overwrite to extract the features anew, or "
            "move the file away to keep it."
        )


class Features:
    """A finished store, read into memory; what is of clips is read when it is first used.

    Raises EvaluateError if there is none at `path`, or it is damaged, unfinished or of another
    schema, or holds what is no number, and UnavailableError if it is in use.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with _opened(path) as file:
            if file.attrs["sha256"] == _UNKNOWN:
                done = int(file["done"][:].sum())
                raise EvaluateError(
                    f"{path} is not finished: it has features of {done} of {len(file['done'])} "
                    "videos. Give the command that wrote it again, and it goes on."
                )
            if file.attrs["sha256"] != _digest(file):
                raise EvaluateError(_changed(path))
            self.features: np.ndarray = file["features"][:]  # float32, videos x channels
            self.names: list[str] = file["name"].asstr()[:].tolist()
            self.class_of: list[str] = file["class"].asstr()[:].tolist()  # "": unlabelled
            self.labels: np.ndarray = file["label"][:]  # int64, videos; -1: unlabelled
            self.groups: list[str] = file["group"].asstr()[:].tolist()
            self.fps: np.ndarray = file["fps"][:]  # float64, videos; NaN: unknown
            self.frames: np.ndarray = file["frames"][:]  # int64, videos
            self.splits = {s: d.asstr()[:] for s, d in file.get("splits", {}).items()}
            self.factors = {f: _values(d) for f, d in file.get("factors", {}).items()}
            self.clip_video: np.ndarray = file["clip_video"][:]  # int32, clips
            self.clip_frames: np.ndarray = file["clip_frames"][:]  # int32, clips x 2
            self._clip_seconds = file["clip_seconds"][:] if "clip_seconds" in file else None
            with np.errstate(divide="ignore", over="ignore"):  # told below
                even = self.frames / self.fps  # float64, videos
            timed = file["duration"][:] if "duration" in file else np.nan
            self.duration: np.ndarray = np.where(np.isnan(timed), even, timed)  # NaN: unknown
            self.attributes: StoreIdentity = _identity_of(file)
            self.shards = Path(str(file.attrs["shards"]))  # where the data set was
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
        are_fine = {
            "numbers of frames": (self.frames > 0) & (self.frames <= _MOST_FRAMES),
            "first and last frames": (first >= 0) & (first <= last) & (last < self.frames[of]),
            "labels": self.labels >= -1,
            "frame rates": np.isnan(self.fps) | ((self.fps > 0) & (self.fps < np.inf)),
            "durations": np.isnan(self.duration)
            | ((self.duration >= 0) & (self.duration < np.inf)),
            "times": np.isnan(spans).all(axis=1) | ((begin >= 0) & (begin <= end) & (end < np.inf)),
        }
        wrong = [name for name, fine in are_fine.items() if not fine.all()]
        return f"its {wrong[0]} are none" if wrong else ""

    @cached_property
    def clip_features(self) -> np.ndarray:
        """float32, clips x channels."""
        with _opened(self.path) as file:
            if file.attrs["clips_sha256"] != _clips_digest(file):
                raise EvaluateError(_changed(self.path))
            found: np.ndarray = file["clip_features"][:]
        self._must_be_finite(found, self.clip_video)
        return found

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
    with _reading(path), no_plugins(), ExitStack() as opened:
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
def _reading(path: Path) -> Iterator[None]:
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
    return {key: _plain(value) for key, value in file.attrs.items() if key not in _OWN}


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _values(data: h5py.Dataset) -> np.ndarray:
    found: np.ndarray = data.asstr()[:] if h5py.check_string_dtype(data.dtype) else data[:]
    return found


def _digest(file: h5py.File) -> str:
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


def _clips_digest(file: h5py.File) -> str:
    data, digest = file["clip_features"], sha256()
    rows = max(1, (64 << 20) // (4 * data.shape[1]))
    for first in range(0, len(data), rows):
        digest.update(data[first : first + rows].tobytes())
    return digest.hexdigest()


def _clear(path: Path) -> None:
    """Take away beginnings of the store that will be at `path`."""
    for begun in partials_in(path.parent):
        if begun.name.startswith(f"{path.name}."):
            begun.unlink()


def _lay_out(
    path: Path,
    videos: Sequence[Video],
    spans: Spans,
    channels: int,
    identity: StoreIdentity,
    origin: Origin,
) -> None:
    fresh = partial_of(path)
    count, clips = len(videos), sum(map(len, spans))
    rows = 4 * channels * (count + clips) + _VIDEO_BYTES * count + _CLIP_BYTES * clips
    must_have_room(path, rows + 2 * _CHUNK_BYTES)
    with open_hdf5(fresh, "x") as file:
        _reserve(file, "features", (count, channels), "f4")
        _reserve(file, "clip_features", (clips, channels), "f4")
        file["done"] = np.zeros(count, np.uint8)
        file["clip_video"] = np.repeat(np.arange(count), [len(own) for own in spans]).astype("i4")
        flat = [span for own in spans for span in own]
        file["clip_frames"] = np.array(flat, np.int32).reshape(-1, 2)
        if any(v.times for v in videos):
            seconds = [
                _seconds(v, *span) for v, own in zip(videos, spans, strict=True) for span in own
            ]
            file["clip_seconds"] = np.array(seconds, np.float64).reshape(-1, 2)
            lengths = [_seconds(v, 0, v.frames - 1)[1] for v in videos]
            file["duration"] = np.array(lengths, np.float64)
        file["label"] = np.array([-1 if v.label is None else v.label for v in videos], np.int64)
        file["fps"] = np.array([v.fps or np.nan for v in videos], np.float64)
        file["frames"] = np.array([v.frames for v in videos], np.int64)
        _write_text(file, "name", [v.name for v in videos])
        _write_text(file, "class", [v.class_name or "" for v in videos])
        _write_text(file, "group", [v.group for v in videos])
        for split in sorted({split for video in videos for split in video.splits}):
            _write_text(file, f"splits/{split}", [v.splits.get(split, "") for v in videos])
        for factor in sorted({factor for video in videos for factor in video.factors or ()}):
            _write_factor(file, factor, [(v.factors or {}).get(factor) for v in videos])
        file.attrs["schema"] = STORE_SCHEMA
        file.attrs["shards"] = _utf8(str(origin.shards.resolve()))
        file.attrs["code"] = origin.code
        file.attrs["sha256"] = file.attrs["clips_sha256"] = _UNKNOWN
        for key, value in identity.items():
            file.attrs[key] = value
    with fresh.open("r+b") as raw:  # HDF5 may crash where the disk gets full: it must not later
        os.posix_fallocate(raw.fileno(), 0, fresh.stat().st_size)
    fresh.rename(path)


def _seconds(video: Video, first: int, last: int) -> tuple[float, float]:
    """When frame `first` begins and frame `last` ends; NaN where frames are evenly spaced."""
    if not video.times or not video.duration:
        return np.nan, np.nan
    end = video.times[last + 1] if last + 1 < video.frames else video.duration
    return video.times[first], end


def _reserve(file: h5py.File, name: str, shape: tuple[int, int], kind: str) -> None:
    """A chunked data set with all its space taken at once: writing to it changes no metadata."""
    layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    rows = max(1, min(shape[0], _CHUNK_BYTES // (4 * shape[1])))
    layout.set_chunk((rows, shape[1]))
    layout.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    layout.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    space = h5py.h5s.create_simple(shape)
    h5py.h5d.create(file.id, name.encode(), h5py.h5t.py_create(np.dtype(kind)), space, layout)


def _write_text(file: h5py.File, name: str, values: Sequence[str]) -> None:
    text = h5py.string_dtype("utf-8")
    file.create_dataset(name, data=[_utf8(value) for value in values], dtype=text)


def _write_factor(file: h5py.File, name: str, values: Sequence[object]) -> None:
    """Numbers as float64 (NaN: unknown), anything else as text ("": unknown)."""
    if all(isinstance(value, int | float | None) for value in values):
        numbers = [np.nan if value is None else value for value in values]
        file[f"factors/{name}"] = np.array(numbers, np.float64)
    else:
        texts = ["" if value is None else str(value) for value in values]
        _write_text(file, f"factors/{name}", texts)


def _utf8(text: str) -> str:
    """File names that are no UTF-8 hold lone surrogates, which HDF5 cannot store."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
