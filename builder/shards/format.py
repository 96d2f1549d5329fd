"""The on-disk format of a shard data set. The only file that knows it.

    shards/ucf101/
        dataset.json             counts, classes, settings, shards; written last
        videos.jsonl             a row for every source file: built, failed or ignored
        ucf101-000000.tar        a WebDataset shard of one split membership

One sample is one video, under a number as key (file names may hold dots, which end a WebDataset
key): `000000012.json`, then `000000012.mjpg`, all frames as JPEGs back to back. A shard holds one
split membership, so a split's training set is a list of whole shards. `dataset.json` says where
each sample starts, so a local reader jumps to any frame without parsing tar.
"""

import json
import os
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from builder.atomic import give_name, open_new, partial_of
from builder.errors import BuilderError
from builder.plain_name import is_plain_name  # noqa: F401 (the trainer has it from here)
from builder.regular_file import open_regular
from builder.shards.validation import (
    LARGEST_INFO,
    LARGEST_ROW,
    largest_videos_file,  # noqa: F401 (the trainer has it from here)
    wrong_info,
    wrong_row,
    wrong_times,
)

# Schema 3 has frame times where frames are unevenly spaced, and its colours are converted to
# BT.601, as JPEGs are understood; schema 2 took all for even, and kept a file's own matrix.
SCHEMA = 3  # what is written
READABLE = (2, SCHEMA)
DATASET_FILE = "dataset.json"
VIDEOS_FILE = "videos.jsonl"
_BLOCK = 512  # bytes; tar's unit
Content = bytes | bytearray | memoryview
ReadInto = Callable[[memoryview], int]


@dataclass(frozen=True)
class Sample:
    """What a shard stores of one video, its frames excepted. The keys of its JSON member."""

    name: str  # path below the source folder
    class_name: str | None
    label: int | None  # 0-based
    group: str  # source recording
    splits: dict[str, str]  # {"1": "train", ...}
    fps: float | None  # of the stored frames: the native rate, unless they were resampled
    width: int  # pixels
    height: int  # pixels
    offsets: tuple[int, ...]  # byte offset of every frame in the blob, plus the end
    sha256: str  # of the blob
    factors: dict[str, Any] | None
    times: tuple[float, ...] | None = None  # as `Video.times`

    @classmethod
    def of_row(cls, row: dict[str, Any], offsets: Sequence[int]) -> "Sample":
        """The sample of a built video's row of `videos.jsonl`."""
        same = ("name", "label", "group", "splits", "fps", "width", "height", "sha256", "factors")
        fields = {name: row[name] for name in same}
        times = _times(row)
        return cls(**fields, class_name=row["class"], offsets=tuple(offsets), times=times)

    def to_json(self) -> bytes:
        """The sample's JSON member; it has the key `times` only where there are any."""
        fields: dict[str, Any] = {
            "name": self.name,
            "class": self.class_name,
            "label": self.label,
            "group": self.group,
            "splits": self.splits,
            "fps": self.fps,
            "width": self.width,
            "height": self.height,
            "frames": len(self.offsets) - 1,
            "offsets": self.offsets,
            "sha256": self.sha256,
            "factors": self.factors,
        }
        if self.times:
            fields["times"] = self.times
        return json.dumps(fields, separators=(",", ":")).encode("ascii")


@dataclass(frozen=True)
class Location:
    """Where one sample lies in its shard: [key, start, json_bytes, blob_bytes] on disk."""

    key: int
    start: int  # byte offset of the sample's first tar header
    json_bytes: int
    blob_bytes: int

    @property
    def end(self) -> int:
        return self.blob_start + _padded(self.blob_bytes)

    @property
    def json_start(self) -> int:
        return self.start + _BLOCK

    @property
    def blob_start(self) -> int:
        return self.json_start + _padded(self.json_bytes) + _BLOCK


def _padded(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK


def shard_name(dataset: str, index: int) -> str:
    """File name of shard number `index`, such as "ucf101-000003.tar"."""
    return f"{dataset}-{index:06d}.tar"


def sample_bytes(key: int, text: bytes, blob: Content) -> tuple[Content, ...]:
    """The bytes of one sample in its shard, piece by piece: two tar members, their contents `text`
    (JSON) and `blob` (frames). They depend on the arguments alone: no time, no user."""
    pieces: list[Content] = []
    for suffix, content in (("json", text), ("mjpg", blob)):
        member = tarfile.TarInfo(f"{key:09d}.{suffix}")
        member.size, member.mode = len(content), 0o644
        padding = bytes(_padded(len(content)) - len(content))
        pieces += [member.tobuf(tarfile.USTAR_FORMAT), content, padding]
    return tuple(pieces)


def shard_end(size: int) -> bytes:
    """What ends a shard whose samples have `size` bytes: two empty blocks, then tar's padding."""
    end = size + 2 * _BLOCK
    return bytes(-(-end // tarfile.RECORDSIZE) * tarfile.RECORDSIZE - size)


class ShardWriter:
    """Appends samples to a tar file under a temporary name; `close` gives it its name."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.locations: list[Location] = []
        self._partial = partial_of(path)
        self._file = open_new(self._partial, buffering=0)
        self._size = 0
        self._digest = sha256()

    def add(self, key: int, text: bytes, blob: Content) -> None:
        self.locations.append(Location(key, self._size, len(text), len(blob)))
        for piece in sample_bytes(key, text, blob):
            self._write(piece)

    def _write(self, piece: Content) -> None:
        left = memoryview(piece)
        while left:  # a write may take less than all, for example when the disk gets full
            left = left[self._file.write(left) :]
        self._digest.update(piece)
        self._size += len(piece)

    def close(self) -> tuple[int, str]:
        """Bytes and SHA-256 of the shard, which is on the disk now, under its name."""
        self._write(shard_end(self._size))
        os.fsync(self._file.fileno())
        self._file.close()
        give_name(self._partial, self.path)
        return self._size, self._digest.hexdigest()

    def discard(self) -> None:
        self._file.close()
        self._partial.unlink(missing_ok=True)


@dataclass(frozen=True)
class Video:
    """One built video as a reader sees it: its row of `videos.jsonl` and where it lies."""

    name: str
    class_name: str | None
    label: int | None
    group: str
    splits: dict[str, str]
    fps: float | None
    frames: int
    width: int  # pixels
    height: int  # pixels
    factors: dict[str, Any] | None
    shard: Path
    location: Location
    # Seconds of every frame after the first one's, rising from 0; None where frames are evenly
    # spaced, `fps` a second.
    times: tuple[float, ...] | None = None

    @property
    def duration(self) -> float | None:
        """Seconds from the first frame to the end of the last; None if the rate is unknown. Of
        unevenly spaced frames the last one lasts as long as the one before it, but not longer than
        frames do on average."""
        if not self.fps:
            return None
        if not self.times:
            return self.frames / self.fps
        return self.times[-1] + min(self.times[-1] - self.times[-2], 1 / self.fps)


class ShardDataset:
    """A built data set, opened for random access. Safe to use from several threads."""

    def __init__(self, folder: Path) -> None:
        """Raises BuilderError if `folder` holds no finished data set of a known schema."""
        self.folder = folder
        path = folder / DATASET_FILE
        if not path.is_file():
            raise BuilderError(
                f"{folder} holds no finished shards ({DATASET_FILE} is not there). Build them "
                f"with `ascnet build`; an interrupted build goes on with the same command."
            )
        self.info: dict[str, Any] = parse_json(path, _content(path, LARGEST_INFO))
        if self.info.get("schema") not in READABLE:
            raise BuilderError(
                f"{path} has schema {self.info.get('schema')}, this ascnet reads "
                f"{' and '.join(map(str, READABLE))}. "
                "Build the shards anew, or install the ascnet that they were built with."
            )
        if wrong := wrong_info(self.info):
            raise changed(path, wrong)

    @property
    def name(self) -> str:
        return str(self.info["dataset"])

    @property
    def classes(self) -> list[str]:
        return list(self.info["classes"])

    @property
    def counts(self) -> dict[str, Any]:
        """expected, built, failed by reason, frames, bytes."""
        return dict(self.info["counts"])

    @cached_property
    def videos(self) -> tuple[Video, ...]:
        """Every built video, in the order of the source."""
        places = {
            row[0]: (path, Location(*row))
            for shard in self.info["shards"]
            for path in [self.folder / shard["name"]]
            for row in shard["index"]
        }
        built = (row for row in self.rows() if row["status"] == "built")
        return tuple(self._video(row, places.pop(row["key"], None)) for row in built)

    def _video(self, row: dict[str, Any], place: tuple[Path, Location] | None) -> Video:
        wrong = ""
        if place is None:
            wrong = f"has a key ({row['key']}) of no sample, or of two videos"
        elif not row["frames"] <= row["bytes"] == place[1].blob_bytes:
            said = f"{row['frames']} frames and {row['bytes']} bytes"
            wrong = f"has {said}, and {DATASET_FILE} {place[1].blob_bytes}"
        elif row.get("times"):
            wrong = wrong_times(row["times"], row["frames"])
        if wrong or place is None:
            raise changed(self.folder / VIDEOS_FILE, f"{ascii(row['name'])[1:-1]} {wrong}")
        return Video(
            name=row["name"],
            label=row["label"],
            class_name=row["class"],
            group=row["group"],
            splits=row["splits"],
            fps=row["fps"],
            frames=row["frames"],
            width=row["width"],
            height=row["height"],
            factors=row["factors"],
            shard=place[0],
            location=place[1],
            times=_times(row),
        )

    def rows(self) -> Iterator[dict[str, Any]]:
        """Rows of `videos.jsonl`: every source file with its status, "built", "failed" or "ignored"
        (no video by its name)."""
        path = self.folder / VIDEOS_FILE
        with open_regular(path) as file:
            while line := file.readline(LARGEST_ROW):
                row = parse_json(path, line)
                if wrong := wrong_row(row):
                    raise changed(path, wrong)
                yield row

    def splits(self) -> dict[str, set[str]]:
        """The splits that have videos, and their parts: {"1": {"train", "test"}, ...}."""
        found: dict[str, set[str]] = {}
        for shard in self.info["shards"]:
            for split, part in shard["splits"].items():
                found.setdefault(split, set()).add(part)
        return found

    def subset(self, split: str, part: str) -> tuple[Video, ...]:
        """The built videos of one part ("train", "val", "test") of a split."""
        return tuple(v for v in self.videos if v.splits.get(split) == part)


def _times(row: dict[str, Any]) -> tuple[float, ...] | None:
    """Frame times of a row of `videos.jsonl`; rows of schema 2 have none."""
    return tuple(times) if (times := row.get("times")) else None


def parse_json(path: Path, text: bytes) -> dict[str, Any]:
    """The object that `text`, of the file `path`, says. Raises BuilderError if it is none."""
    try:
        found = json.loads(text.decode())
    except ValueError as error:
        raise changed(path, str(error)) from error
    except RecursionError as error:
        raise changed(path, "it is nested too deeply") from error
    if not isinstance(found, dict):
        raise changed(path, "there is something else than a JSON object")
    return found


def changed(path: Path, what: str) -> BuilderError:
    """The error of a file that is not what a build wrote."""
    return BuilderError(
        f"{path} was changed after it was built: {what}. Copy it again, or delete the folder and "
        "build anew."
    )


def _content(path: Path, most: int) -> bytes:
    with open_regular(path) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise changed(path, f"it has more than {most >> 20} MB")
    return content


def read_offsets(video: Video) -> np.ndarray:
    """int64 array of frames + 1 byte offsets into the video's blob. Reads the JSON member; raises
    BuilderError if that is not the video's."""
    where = video.location
    with open_regular(video.shard) as file:
        text = os.pread(file.fileno(), where.json_bytes, where.json_start)
    _must_be_whole(video, len(text), where.json_bytes)
    return _offsets_in(text, video)


def _offsets_in(text: bytes, video: Video) -> np.ndarray:
    """Of the frames, and the end, by a sample's JSON. Raises BuilderError if it is not of this
    video, or if they do not rise from 0 to the end of the blob."""
    stated = parse_json(video.shard, text)
    if (stated.get("name"), stated.get("frames")) != (video.name, video.frames):
        raise _is_another(video)
    try:
        found = np.asarray(stated.get("offsets"))
    except ValueError:  # lists of unequal length
        found = np.empty(0)
    is_fine = (
        found.shape == (video.frames + 1,)
        and found.dtype == np.int64
        and found[0] == 0
        and found[-1] == video.location.blob_bytes
        and bool((found[1:] > found[:-1]).all())
    )
    if not is_fine:
        name = ascii(video.name)[1:-1]
        raise changed(video.shard, f"the offsets of {name} are not those of {video.frames} frames")
    return found


def _is_another(video: Video) -> BuilderError:
    return BuilderError(
        f"{video.shard.name} does not hold {ascii(video.name)[1:-1]} where {DATASET_FILE} says "
        f"(byte {video.location.start}): it was changed, or is of another build. Copy both files "
        "again."
    )


def read_sample(shard: Path, where: Location) -> tuple[bytes, bytes]:
    """JSON and frames of one sample, as they lie there: nothing is checked."""
    with open_regular(shard) as file:
        text = os.pread(file.fileno(), where.json_bytes, where.json_start)
        return text, os.pread(file.fileno(), where.blob_bytes, where.blob_start)


def read_frames(video: Video, offsets: np.ndarray, frames: Sequence[int]) -> list[bytes]:
    """The JPEGs of the given frames, in the order given, with one read of the span they cover."""
    first, end = int(offsets[min(frames)]), int(offsets[max(frames) + 1])
    with video.shard.open("rb") as file:
        span = os.pread(file.fileno(), end - first, video.location.blob_start + first)
    _must_be_whole(video, len(span), end - first)
    return [span[offsets[i] - first : offsets[i + 1] - first] for i in frames]


def stream_samples(read: ReadInto, videos: Iterable[Video]) -> Iterator[tuple[Any, memoryview]]:
    """Frame offsets and frames (good until the next ones) of videos of one shard in the order in
    which they lie there, while its bytes are read once, from the first one on. `read` fills the
    beginning of what it is given, and says how much; 0 at the end. Raises BuilderError if that
    comes too early, or if the bytes are not those of `videos`."""
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
        text = bytes(buffer[_BLOCK : _BLOCK + where.json_bytes])
        first, _, _, second, _, _ = sample_bytes(where.key, text, blob)
        is_same = buffer[:_BLOCK] == first and buffer[head - _BLOCK : head] == second
        if not is_same:
            raise _is_another(video)
        offsets = _offsets_in(text, video).tolist()
        position += head + _fill(buffer[head:size], read, video)
        yield offsets, blob


def _fill(view: memoryview, read: ReadInto, video: Video) -> int:
    got = 0
    while got < len(view):
        got += (more := read(view[got:]))
        if not more:
            _must_be_whole(video, got, len(view))
    return got


def _must_be_whole(video: Video, got: int, wanted: int) -> None:
    if got != wanted:
        raise BuilderError(
            f"{video.shard} ends inside {ascii(video.name)[1:-1]}: {got} of {wanted} bytes are "
            "there. The file was cut after it was built; copy it again, or delete the folder and "
            "build anew."
        )


def find_datasets(folder: Path) -> list[Path]:
    """`folder` itself if it is a data set, else the finished data sets right below it, sorted.

    Raises BuilderError if there is none.
    """
    if (folder / DATASET_FILE).is_file():
        return [folder]
    found = sorted(path.parent for path in folder.glob(f"*/{DATASET_FILE}"))
    if not found:
        raise BuilderError(
            f"No shards in {folder}: neither {folder / DATASET_FILE} nor one in a folder below. "
            "Build some first, for example with `make shards DATASET=shapes`."
        )
    return found
