"""Read a built data set: its videos, and their frames by random access or as a stream."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from builder.counted import counted
from builder.errors import BuilderError
from builder.regular_file import open_regular
from builder.shards.elsewhere import no_shards
from builder.shards.format import Location, sample_bytes
from builder.shards.manifest import DATASET_FILE, READABLE, VIDEOS_FILE, Manifest
from builder.shards.stored_json import changed, parse_json, read_json
from builder.shards.validation import LARGEST_ROW, wrong_cuts, wrong_info, wrong_row, wrong_times
from builder.shards.video_row import BUILT, VideoRow

ReadInto = Callable[[memoryview], int]


@dataclass(frozen=True)
class Video:
    """One built video: its row of `videos.jsonl` and its location in a shard.

    Attributes:
        label: 0-based index of the class; None without a class
        group: source recording
        splits: {"1": "train", ...}
        fps: frames per second; None if unknown
        frames: number of frames
        width: pixels
        height: pixels
        factors: known factors of a synthetic video; else None
        shard: path of the tar file
        times: time of every frame in seconds, rising from 0; None if frames are evenly spaced at
            `fps`
        cuts: numbers of the frames at which a new shot begins, without the first shot's 0
    """

    name: str
    class_name: str | None
    label: int | None
    group: str
    splits: dict[str, str]
    fps: float | None
    frames: int
    width: int
    height: int
    factors: dict[str, Any] | None
    shard: Path
    location: Location
    times: tuple[float, ...] | None = None
    cuts: tuple[int, ...] = ()

    @property
    def duration(self) -> float | None:
        """Seconds from the first frame to the end of the last; None if the frame rate is unknown.
        If frames are unevenly spaced, the last one is taken to last as long as the one before it,
        but no longer than the average frame."""
        if not self.fps:
            return None
        if not self.times:
            return self.frames / self.fps
        return self.times[-1] + min(self.times[-1] - self.times[-2], 1 / self.fps)


class ShardDataset:
    """A built data set, opened for random access. Thread-safe.

    Attributes:
        folder: holds `dataset.json` and `videos.jsonl`, and the shards if they are local
        source: URL or command that the shards are streamed from; "" if they are in `folder`
    """

    def __init__(self, folder: Path, source: str = "") -> None:
        """Read `dataset.json`. Raises BuilderError if `folder` holds no finished data set of a
        known schema."""
        self.folder, self.source = folder, source
        path = folder / DATASET_FILE
        if not path.is_file():
            if several := sorted(str(p.parent) for p in folder.glob(f"*/{DATASET_FILE}")):
                raise BuilderError(
                    f"{folder} holds {counted(len(several), 'data set')}: name "
                    f"{' or '.join(several)}."
                )
            raise BuilderError(no_shards(folder))
        stated = read_json(path)
        if stated.get("schema") not in READABLE:
            raise BuilderError(
                f"{path} has schema {stated.get('schema')}, this ascnet reads "
                f"{' and '.join(map(str, READABLE))}. "
                "Build the shards anew, or install the ascnet that they were built with."
            )
        if wrong := wrong_info(stated):
            raise changed(path, wrong)
        self.manifest = Manifest.from_json(stated)

    @property
    def name(self) -> str:
        return self.manifest.dataset

    @property
    def classes(self) -> list[str]:
        return list(self.manifest.classes)

    @property
    def counts(self) -> dict[str, Any]:
        """Counts of videos expected and built, of failures by reason, of frames and of bytes."""
        return dict(self.manifest.counts)

    @cached_property
    def videos(self) -> tuple[Video, ...]:
        """Every built video, in the order of the source data set."""
        locations: dict[int | None, tuple[Path, Location]] = {
            location.key: (path, location)
            for shard in self.manifest.shards
            for path in [self.folder / shard.name]
            for location in shard.index
        }
        return tuple(self._video(row, locations.pop(row.key, None)) for row in self.built_rows())

    def _video(self, row: VideoRow, place: tuple[Path, Location] | None) -> Video:
        wrong = ""
        if place is None:
            wrong = f"has a key ({row.key}) of no sample, or of two videos"
        elif not row.frames <= row.bytes == place[1].blob_bytes:
            stated = f"{row.frames} frames and {row.bytes} bytes"
            wrong = f"has {stated}, and {DATASET_FILE} {place[1].blob_bytes}"
        else:
            wrong = wrong_times(row.times, row.frames) if row.times else ""
            wrong = wrong or (wrong_cuts(row.cuts, row.frames) if row.cuts else "")
        if wrong or place is None:
            raise changed(self.folder / VIDEOS_FILE, f"{ascii(row.name)[1:-1]} {wrong}")
        return Video(
            name=row.name,
            label=row.label,
            class_name=row.class_name,
            group=row.group,
            splits=row.splits,
            fps=row.fps,
            frames=row.frames,
            width=row.width,
            height=row.height,
            factors=row.factors,
            shard=place[0],
            location=place[1],
            times=tuple(row.times) if row.times else None,
            cuts=tuple(row.cuts or ()),
        )

    def rows(self) -> Iterator[VideoRow]:
        """Yield every row of `videos.jsonl`: built and failed videos, and ignored files."""
        path = self.folder / VIDEOS_FILE
        with open_regular(path) as file:
            while line := file.readline(LARGEST_ROW):
                values = parse_json(path, line)
                if wrong := wrong_row(values):
                    raise changed(path, wrong)
                yield VideoRow.from_json(values)

    def built_rows(self) -> Iterator[VideoRow]:
        """The rows of the videos that are in the shards."""
        return (row for row in self.rows() if row.status == BUILT)

    def splits(self) -> dict[str, set[str]]:
        """The parts of every split that has videos: {"1": {"train", "test"}, ...}."""
        parts: dict[str, set[str]] = {}
        for shard in self.manifest.shards:
            for split, part in shard.splits.items():
                parts.setdefault(split, set()).add(part)
        return parts

    def subset(self, split: str, part: str) -> tuple[Video, ...]:
        """The built videos of one part ("train", "val", "test") of a split."""
        return tuple(v for v in self.videos if v.splits.get(split) == part)


def read_offsets(video: Video) -> np.ndarray:
    """Read the byte offsets of a video's frames in its blob from the JSON member: int64 (frames +
    1,), the end included. Raises BuilderError if the member is not this video's."""
    where = video.location
    with open_regular(video.shard) as file:
        text = os.pread(file.fileno(), where.json_bytes, where.json_start)
    must_be_whole(video, len(text), where.json_bytes)
    return _offsets_in(text, video)


def _offsets_in(text: bytes, video: Video) -> np.ndarray:
    """Parse the byte offsets of the frames, and the end, from a sample's JSON member. Raises
    BuilderError if it is another video's, or if they do not rise from 0 to the end of the blob."""
    stated = parse_json(video.shard, text)
    if (stated.get("name"), stated.get("frames")) != (video.name, video.frames):
        raise _is_another(video)
    try:
        offsets = np.asarray(stated.get("offsets"))
    except ValueError:  # lists of unequal length
        offsets = np.empty(0)
    is_fine = (
        offsets.shape == (video.frames + 1,)
        and offsets.dtype == np.int64
        and offsets[0] == 0
        and offsets[-1] == video.location.blob_bytes
        and bool((offsets[1:] > offsets[:-1]).all())
    )
    if not is_fine:
        name = ascii(video.name)[1:-1]
        raise changed(video.shard, f"the offsets of {name} are not those of {video.frames} frames")
    return offsets


def _is_another(video: Video) -> BuilderError:
    return BuilderError(
        f"{video.shard.name} does not hold {ascii(video.name)[1:-1]} where {DATASET_FILE} says "
        f"(byte {video.location.start}): it was changed, or is of another build. Copy both files "
        "again."
    )


def read_frames(video: Video, offsets: np.ndarray, frames: Sequence[int]) -> list[bytes]:
    """Read the JPEGs of the given frames, in the given order, by one read of the span that they
    cover."""
    first, end = int(offsets[min(frames)]), int(offsets[max(frames) + 1])
    with video.shard.open("rb") as file:
        span = os.pread(file.fileno(), end - first, video.location.blob_start + first)
    must_be_whole(video, len(span), end - first)
    return [span[offsets[i] - first : offsets[i + 1] - first] for i in frames]


def stream_samples(read: ReadInto, videos: Iterable[Video]) -> Iterator[tuple[Any, memoryview]]:
    """Yield (frame offsets, blob of frames) for videos of one shard in a single pass over its
    bytes, from its start. `videos` must be in the shard's order; a blob is valid until the next
    one. `read` works as `readinto`: it fills the start of a buffer and returns the number of bytes,
    0 at the end. Raises BuilderError if the shard ends early or holds other videos."""
    buffer, position = memoryview(bytearray(1 << 20)), 0
    for video in videos:
        where = video.location
        head, size = where.blob_start - where.start, where.end - where.start
        while position < where.start:
            position += _fill(buffer[: where.start - position], read, video)
        if size > len(buffer):
            buffer = memoryview(bytearray(size))
        blob = buffer[head : head + where.blob_bytes]
        _fill(buffer[:head], read, video)
        begin = where.json_start - where.start
        text = bytes(buffer[begin : begin + where.json_bytes])
        first, _, _, second, _, _ = sample_bytes(where.key, text, blob)
        if buffer[:begin] != first or buffer[head - len(second) : head] != second:
            raise _is_another(video)
        offsets = _offsets_in(text, video).tolist()
        position += head + _fill(buffer[head:size], read, video)
        yield offsets, blob


def _fill(view: memoryview, read: ReadInto, video: Video) -> int:
    got = 0
    while got < len(view):
        got += (more := read(view[got:]))
        if not more:
            must_be_whole(video, got, len(view))
    return got


def must_be_whole(video: Video, got: int, wanted: int) -> None:
    """Raise BuilderError if `got`, the number of bytes that were read, is not `wanted`."""
    if got != wanted:
        raise BuilderError(
            f"{video.shard} ends inside {ascii(video.name)[1:-1]}: {got} of {wanted} bytes are "
            "there. The file was cut after it was built; copy it again, or delete the folder and "
            "build anew."
        )


def find_datasets(folder: Path) -> list[Path]:
    """`folder` itself if it is a data set, else the finished data sets directly below it, sorted.

    Raises BuilderError if there is none.
    """
    if (folder / DATASET_FILE).is_file():
        return [folder]
    folders = sorted(path.parent for path in folder.glob(f"*/{DATASET_FILE}"))
    if not folders:
        raise BuilderError(no_shards(folder))
    return folders
