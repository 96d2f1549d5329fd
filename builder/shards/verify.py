"""Verify that shards are as they were built: every byte and, on demand, every decoded frame."""

import errno
import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from threading import Event

import numpy as np
import simplejpeg

from builder.decode.frames import split_frames
from builder.progress import Progress, silent
from builder.regular_file import open_regular
from builder.shards.dataset import ShardDataset
from builder.shards.format import Location, sample_bytes, shard_end
from builder.shards.jpeg_scans import must_have_few_scans
from builder.shards.manifest import (
    DATASET_FILE,
    VIDEOS_FILE,
    ShardEntry,
    is_as_written,
    shard_files,
)
from builder.shards.video_row import VideoRow, sample_json
from builder.workers import run_local

# Errors that say what a file is. Others say that it cannot be read now.
_OF_THE_FILE = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EINVAL, errno.ELOOP, errno.ENXIO)


@dataclass(frozen=True)
class Report:
    """The result of a verification.

    Attributes:
        shards: number of shards
        samples: number of built videos
        frames: number of decoded frames; 0 unless deep
        bytes: of all shards
        problems: one sentence each
        unread: number of shards that the system refused to read, each of which is a problem
        links: shards that are links, and their targets: "a.tar -> /disk/a.tar"
    """

    folder: Path
    shards: int
    samples: int
    frames: int
    bytes: int
    problems: tuple[str, ...]
    unread: int = 0
    links: tuple[str, ...] = ()


def verify(
    folder: Path,
    deep: bool,
    workers: int,
    progress: Progress = silent,
) -> Report:
    """Compare a data set with the sizes, hashes and counts that its build recorded.

    Checks the size and hash of every shard, the hash of videos.jsonl, and the counts; a shard with
    another hash is searched for the samples that have changed. With `deep`, every sample is rebuilt
    from its frames and its row and compared byte for byte, and every JPEG is decoded and its size
    compared. A shard must be a regular file or a link to one, which is followed and reported.

    Raises BuilderError if `folder` holds no finished data set of a known schema, or if its tables
    cannot be parsed.
    """
    dataset = ShardDataset(folder)
    rows = {row.key: row for row in dataset.built_rows()}
    problems = _check_tables(dataset, rows)
    total, done, frames, unread = dataset.counts["bytes"], 0, 0, 0
    stop = Event()

    def check(shard: ShardEntry) -> tuple[ShardEntry, int, list[str], bool]:
        try:
            return shard, *_check_shard(folder / shard.name, shard, rows, deep, stop), True
        except FileNotFoundError:
            return shard, 0, [f"{shard.name}: it is missing"], True
        except OSError as error:
            is_read = error.errno in _OF_THE_FILE
            return shard, 0, [f"{shard.name}: {error.strerror}"], is_read

    shards = dataset.manifest.shards
    with closing(run_local(check, shards, workers, stop=stop.set)) as results:
        for shard, decoded, wrong, is_read in results:
            done, frames, unread = done + shard.bytes, frames + decoded, unread + (not is_read)
            problems += wrong
            progress(done, total, shard.name)
    return Report(
        folder=folder,
        shards=len(shards),
        samples=len(rows),
        frames=frames,
        bytes=total,
        problems=tuple(sorted(problems)),
        unread=unread,
        links=tuple(
            f"{shard.name} -> {os.path.realpath(folder / shard.name)}"
            for shard in shards
            if (folder / shard.name).is_symlink()
        ),
    )


def _check_tables(dataset: ShardDataset, rows: dict[int | None, VideoRow]) -> list[str]:
    """Compare dataset.json with videos.jsonl and with the files in the folder."""
    manifest, folder, problems = dataset.manifest, dataset.folder, []
    if not is_as_written((folder / DATASET_FILE).read_bytes()):
        problems.append(f"{DATASET_FILE}: it is not what the build wrote")
    if _hash(folder / VIDEOS_FILE) != manifest.videos_jsonl_sha256:
        problems.append(f"{VIDEOS_FILE}: it is not what the build wrote")
    indexed = [location.key for shard in manifest.shards for location in shard.index]
    counts = {
        "built": (len(rows), len(indexed)),
        "frames": (
            sum(row.frames for row in rows.values()),
            sum(shard.frames for shard in manifest.shards),
        ),
    }
    for name, (in_rows, in_shards) in counts.items():
        if not in_rows == in_shards == manifest.counts[name]:
            problems.append(
                f"{DATASET_FILE}: {name} is {manifest.counts[name]}, {in_rows} in {VIDEOS_FILE}, "
                f"{in_shards} in the shards"
            )
    if sorted(indexed) != sorted(key for key in rows if key is not None):
        problems.append(f"{DATASET_FILE}: its index names other videos than {VIDEOS_FILE}")
    known = {shard.name for shard in manifest.shards}
    there = {path.name for path in shard_files(folder, dataset.name)}
    return problems + [f"{name}: no shard of this data set" for name in there - known]


def _check_shard(
    path: Path, shard: ShardEntry, rows: dict[int | None, VideoRow], deep: bool, stop: Event
) -> tuple[int, list[str]]:
    """Check one shard; return the number of decoded frames and the problems. Setting `stop` ends
    it early."""
    problems = []
    open_regular(path).close()
    if (size := path.stat().st_size) != shard.bytes:  # the hash must differ, too
        problems = [f"{path.name}: it has {size} bytes, and {shard.bytes} were written down"]
    elif _hash(path, stop) != shard.sha256:
        problems = [f"{path.name}: checksum mismatch (SHA-256)"]
    if not problems and not deep:
        return 0, []
    decoded, end, name = 0, 0, "the beginning"
    with open_regular(path) as file:
        for where in shard.index:
            if stop.is_set():
                break
            row = rows.get(where.key)
            if row is None:
                continue  # reported by _check_tables
            name = row.name
            raw = os.pread(file.fileno(), where.end - where.start, where.start)
            count, wrong = _check_sample(raw, where, row, deep and not stop.is_set())
            decoded += count
            problems += [f"{path.name}: {name} (sample {where.key:09d}): {what}" for what in wrong]
            if where.start != end:
                problems.append(f"{path.name}: {name} does not begin where the one before it ends")
            end = where.end
        last = shard_end(end)
        if size - end != len(last) or os.pread(file.fileno(), len(last), end) != last:
            problems.append(f"{path.name}: what follows {name}, the last sample, has changed")
    return decoded, problems


def _hash(path: Path, stop: Event | None = None) -> str:
    digest = sha256()
    with open_regular(path) as file:
        while not (stop and stop.is_set()) and (block := file.read(1 << 20)):
            digest.update(block)
    return digest.hexdigest()


def _check_sample(raw: bytes, where: Location, row: VideoRow, deep: bool) -> tuple[int, list[str]]:
    """Check the bytes of one sample; return the number of decoded frames and the problems."""
    if len(raw) < where.end - where.start:
        return 0, ["the shard ends inside it"]
    begin = where.blob_start - where.start
    blob = raw[begin : begin + where.blob_bytes]
    if sha256(blob).hexdigest() != row.sha256:
        return 0, ["its frames are not those that were built"]
    offsets, sizes = split_frames(blob)
    problems = []
    if len(offsets) - 1 != row.frames or offsets[-1] != len(blob):
        problems.append(f"{len(offsets) - 1} frames are in it, {row.frames} are stated")
    if sizes != {(row.width, row.height)}:
        problems.append(f"its frames are of {sorted(sizes)}, not {row.width} x {row.height}")
    if row.times and len(row.times) != row.frames:
        problems.append(f"{row.frames} frames are stated, and {len(row.times)} frame times")
    text = sample_json(row, offsets)
    if b"".join(sample_bytes(where.key, text, blob)) != raw:
        problems.append("its tar headers or its JSON have changed")
    if not deep or sizes != {(row.width, row.height)}:
        return 0, problems
    return len(offsets) - 1, problems + list(_undecodable(blob, offsets, row))


def _undecodable(blob: bytes, offsets: list[int], row: VideoRow) -> Iterator[str]:
    shape = (row.height, row.width, 3)
    canvas = np.empty(shape, np.uint8)  # decoding cannot take more, whatever the JPEG states
    for i in range(len(offsets) - 1):
        jpeg = blob[offsets[i] : offsets[i + 1]]
        try:
            must_have_few_scans(jpeg, shape[0] * shape[1])
            picture = simplejpeg.decode_jpeg(jpeg, buffer=canvas)
        except ValueError as error:
            yield f"frame {i} cannot be decoded: {error}"
            continue
        if picture.shape != shape:
            yield f"frame {i} has the shape {picture.shape}, not {shape}"
