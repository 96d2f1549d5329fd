"""The on-disk format of a shard data set, and the byte layout of a shard.

    shards/ucf101/
        dataset.json             counts, classes, settings, shards; written last
        videos.jsonl             a row for every source file: built, failed or ignored
        ucf101-000000.tar        a WebDataset shard of one split membership

One sample is one video: `000000012.json`, then `000000012.mjpg`, all frames as JPEGs back to back.
Its key is a number, as a dot in a file name would end a WebDataset key. All videos of a shard have
the same split membership, so a split's training set is a list of whole shards. `dataset.json` says
where each sample starts, so a local reader can seek to any frame without parsing tar.
"""

import os
import tarfile
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from builder.atomic import give_name, open_new, partial_of
from builder.regular_file import open_regular

_BLOCK = 512  # bytes of a tar block
Content = bytes | bytearray | memoryview


class Location(NamedTuple):
    """Location of one sample in its shard. A list of four numbers in `dataset.json`.

    Attributes:
        key: of the sample
        start: byte offset of the sample's first tar header
        json_bytes: size of the JSON member
        blob_bytes: size of the member with the frames
    """

    key: int
    start: int
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
    """The bytes of one sample in its shard: header, content and padding of two tar members, `text`
    (JSON) and `blob` (frames). They depend on the arguments only, not on the time or the user."""
    pieces: list[Content] = []
    for suffix, content in (("json", text), ("mjpg", blob)):
        member = tarfile.TarInfo(f"{key:09d}.{suffix}")
        member.size, member.mode = len(content), 0o644
        padding = bytes(_padded(len(content)) - len(content))
        pieces += [member.tobuf(tarfile.USTAR_FORMAT), content, padding]
    return tuple(pieces)


def shard_end(size: int) -> bytes:
    """The end of a shard whose samples have `size` bytes: two empty blocks, then tar's padding."""
    end = size + 2 * _BLOCK
    return bytes(-(-end // tarfile.RECORDSIZE) * tarfile.RECORDSIZE - size)


class ShardWriter:
    """Append samples to a tar file under a temporary name; `close` renames it to its final one."""

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
        while left:  # a write may be partial, for example when the disk gets full
            left = left[self._file.write(left) :]
        self._digest.update(piece)
        self._size += len(piece)

    def close(self) -> tuple[int, str]:
        """Finish, sync and rename the shard; return its size in bytes and its SHA-256."""
        self._write(shard_end(self._size))
        os.fsync(self._file.fileno())
        self._file.close()
        give_name(self._partial, self.path)
        return self._size, self._digest.hexdigest()

    def discard(self) -> None:
        self._file.close()
        self._partial.unlink(missing_ok=True)


def read_sample(shard: Path, where: Location) -> tuple[bytes, bytes]:
    """Read the JSON and the frames of one sample, unchecked."""
    with open_regular(shard) as file:
        text = os.pread(file.fileno(), where.json_bytes, where.json_start)
        return text, os.pread(file.fileno(), where.blob_bytes, where.blob_start)
