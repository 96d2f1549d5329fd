"""Write a feature store (evaluate/features/store.py describes its content).

All space is allocated before the first feature is written, so a kill at any moment leaves a
readable file and loses only the videos in progress. The store gets its final name when it is
complete.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import h5py
import numpy as np

from builder.atomic import give_name, must_be_own, partial_of, partials_in
from builder.shards.dataset import Video
from evaluate.disk_errors import is_there, must_have_room, open_hdf5, writing
from evaluate.errors import EvaluateError
from evaluate.features.store import (
    NO_CHECKSUM,
    STORE_SCHEMA,
    StoreIdentity,
    checksum,
    clips_checksum,
    must_be_of,
    reading,
    unfinished,
)
from evaluate.identity_check import all_machines

Spans = Sequence[Sequence[tuple[int, int]]]  # by video: first and last frame of each clip
_CHUNK_BYTES = 1 << 20
_VIDEO_BYTES, _CLIP_BYTES = 512, 28  # estimates, without features


@dataclass(frozen=True)
class Origin:
    """Where features come from; recorded, but not part of the identity.

    Attributes:
        shards: location of the data set: its folder, or its address without passwords
        code: version and commit of ascnet
        computed_on: device and version of torch
    """

    shards: str
    code: str
    computed_on: dict[str, str]


class StoreWriter:
    """An open feature store to which features are written a few videos at a time."""

    def __init__(
        self,
        path: Path,
        videos: Sequence[Video],
        spans: Spans,
        channels: int,
        identity: StoreIdentity,
        origin: Origin,
    ) -> None:
        """Continue the unfinished store at `path`, or begin one. Raises EvaluateError if the
        unfinished store has another identity, or if it cannot be written."""
        self.path, self._partial = path, unfinished(path)
        self._videos, self._spans, self._computed_on = videos, spans, origin.computed_on
        self._first_clip = np.concatenate([[0], np.cumsum([len(of_video) for of_video in spans])])
        path.parent.mkdir(parents=True, exist_ok=True)
        is_begun = is_there(self._partial)
        if is_begun:
            must_be_own(self._partial)
            must_be_of(self._partial, identity)
        with writing(self._partial):
            if not is_begun:
                self._clear()  # left by a killed process
                try:
                    self._lay_out(channels, identity, origin)
                finally:
                    self._clear()
            self._file = open_hdf5(self._partial, "r+")
        try:
            with reading(self._partial):
                self._must_be_of_these(channels)
                self.done: np.ndarray = self._file["done"][:].astype(bool)
                if self.done.any():  # earlier versions stored NaN and infinite features
                    self.done &= np.isfinite(self._file["features"][:]).all(axis=1)
        except BaseException:
            self._file.close()
            raise

    def _clear(self) -> None:
        """Delete partial files of this store."""
        for begun in partials_in(self._partial.parent):
            if begun.name.startswith(f"{self._partial.name}."):
                begun.unlink()

    def _lay_out(self, channels: int, identity: StoreIdentity, origin: Origin) -> None:
        videos, spans, fresh = self._videos, self._spans, partial_of(self._partial)
        count, clips = len(videos), int(self._first_clip[-1])
        rows = 4 * channels * (count + clips) + _VIDEO_BYTES * count + _CLIP_BYTES * clips
        must_have_room(self._partial, rows + 2 * _CHUNK_BYTES)
        with open_hdf5(fresh, "x") as file:
            _reserve(file, "features", (count, channels), "f4")
            _reserve(file, "clip_features", (clips, channels), "f4")
            file["done"] = np.zeros(count, np.uint8)
            clip_video = np.repeat(np.arange(count), np.diff(self._first_clip)).astype("i4")
            flat = [span for of_video in spans for span in of_video]
            file["clip_video"] = clip_video
            file["clip_frames"] = np.array(flat, np.int32).reshape(-1, 2)
            if any(v.times for v in videos):
                pairs = zip(clip_video, flat, strict=True)
                seconds = [_seconds(videos[video], *span) for video, span in pairs]
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
            file.attrs["shards"] = _utf8(origin.shards)
            file.attrs["code"] = origin.code
            file.attrs["sha256"] = file.attrs["clips_sha256"] = NO_CHECKSUM
            for key, value in (identity | origin.computed_on).items():
                file.attrs[key] = value
        with fresh.open(
            "r+b"
        ) as raw:  # HDF5 may crash on a full disk, so all blocks are allocated now
            os.posix_fallocate(raw.fileno(), 0, fresh.stat().st_size)
        fresh.rename(self._partial)

    def _must_be_of_these(self, channels: int) -> None:
        """Check the videos and shapes, which a matching identity does not guarantee."""
        names, shape = self._file["name"].asstr()[:].tolist(), self._file["clip_features"].shape
        clips = int(self._first_clip[-1])
        if shape == (clips, channels) and names == [_utf8(video.name) for video in self._videos]:
            return
        raise EvaluateError(
            f"{self._partial} was changed: it does not have these {len(self._videos)} videos and "
            f"{clips} clips with {channels} features. Delete it, then repeat the command."
        )

    def write(self, videos: Sequence[int], clip_features: np.ndarray) -> None:
        """Write the features (float32, clips x channels) of all clips of some videos, given by
        their positions, ordered by video. Raises EvaluateError, and stores none of them, if they
        are not finite."""
        starts = np.cumsum([0, *(len(self._spans[video]) for video in videos)])
        of_videos = [clip_features[first:end] for first, end in pairwise(starts)]
        means = np.stack([self._mean(video, c) for video, c in zip(videos, of_videos, strict=True)])
        runs = _runs(videos)
        with writing(self._partial):
            self._record_machine()
            for first, end in runs:
                place = slice(videos[first], videos[end - 1] + 1)
                clips = slice(*self._first_clip[[place.start, place.stop]])
                self._file["clip_features"][clips] = clip_features[starts[first] : starts[end]]
                self._file["features"][place] = means[first:end]
            self._file.flush()
            for first, end in runs:
                self._file["done"][videos[first] : videos[end - 1] + 1] = 1
            self._file.flush()
        self.done[list(videos)] = True

    def _record_machine(self) -> None:
        """Record this machine before its first features are stored."""
        attributes = self._file.attrs
        for key, value in all_machines(attributes, self._computed_on).items():
            if value != attributes.get(key):
                attributes.modify(key, value)

    def _mean(self, video: int, clips: np.ndarray) -> np.ndarray:
        """Mean over the clips of a video. Raises EvaluateError if the clips or the mean are not
        finite."""
        is_finite = np.isfinite(clips).all(axis=1)
        with np.errstate(over="ignore", invalid="ignore"):
            mean: np.ndarray = clips.mean(axis=0)
        if is_finite.all() and np.isfinite(mean).all():
            return mean
        clip = int(is_finite.argmin())  # the first; clip 0 where only the mean overflows
        first, last = self._spans[video][clip]
        what = "NaN" if np.isnan(clips[clip]).any() else "infinite or too large"
        raise EvaluateError(
            f"The features of {_utf8(self._videos[video].name)}, clip {clip + 1} of {len(clips)} "
            f"(frames {first} to {last}), are {what}: the weights are damaged, or numbers overflow "
            "in the network. They were not stored. Check in log.jsonl whether training diverged, "
            "and use an earlier checkpoint or other weights."
        )

    def close(self) -> None:
        """Close the store. If it is complete, add its checksums and give it its final name."""
        complete = bool(self.done.all())
        with writing(self._partial):
            if complete:
                self._file.attrs.modify("sha256", checksum(self._file))
                self._file.attrs.modify("clips_sha256", clips_checksum(self._file))
            self._file.close()
        if complete:
            give_name(self._partial, self.path)


def _runs(videos: Sequence[int]) -> list[tuple[int, int]]:
    """Start and end of each run of consecutive positions. HDF5 writes hundreds of consecutive
    videos as fast as one."""
    breaks = np.flatnonzero(np.diff(videos) != 1) + 1
    return list(pairwise([0, *breaks.tolist(), len(videos)]))


def _seconds(video: Video, first: int, last: int) -> tuple[float, float]:
    """Start of frame `first` and end of frame `last`; NaN if the frames are evenly spaced."""
    if not video.times or not video.duration:
        return np.nan, np.nan
    end = video.times[last + 1] if last + 1 < video.frames else video.duration
    return video.times[first], end


def _reserve(file: h5py.File, name: str, shape: tuple[int, int], kind: str) -> None:
    """Create a chunked dataset with all its space allocated, so that writing to it changes no
    metadata."""
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
    """Escape lone surrogates, which file names that are not UTF-8 contain and HDF5 cannot store."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
