"""`dataset.json`: what is in a data set, and where. A build writes it last."""

import json
import re
from dataclasses import dataclass, fields
from hashlib import sha256
from pathlib import Path
from typing import Any

from builder.shards.format import Location

# Schema 3 has frame times where frames are unevenly spaced, and its colours are converted to
# BT.601, as JPEGs are understood; schema 2 took all for even, and kept a file's own matrix.
SCHEMA = 3  # what is written
READABLE = (2, SCHEMA)
DATASET_FILE = "dataset.json"
VIDEOS_FILE = "videos.jsonl"


@dataclass(frozen=True)
class ShardEntry:
    """One shard.

    Attributes:
        name: file name
        splits: the one membership of all its videos
        index: of its samples, in the order in which they lie there
    """

    name: str
    splits: dict[str, str]
    samples: int
    frames: int
    bytes: int
    sha256: str
    index: tuple[Location, ...]

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "ShardEntry":
        """From the values in a file, which `validation.wrong_shard` has found to be right."""
        stored = {field.name: values[field.name] for field in fields(cls)}
        return cls(**stored | {"index": tuple(Location(*where) for where in values["index"])})


@dataclass(frozen=True)
class Manifest:
    """The content of `dataset.json`, key for key.

    Attributes:
        dataset: its name
        counts: expected, built, failed and warnings by reason, frames, bytes, ...
        classes: in the order of the labels
        settings: all that decided the bytes of the build
    """

    schema: int
    dataset: str
    counts: dict[str, Any]
    classes: tuple[str, ...]
    settings: dict[str, Any]
    videos_jsonl_sha256: str
    shards: tuple[ShardEntry, ...]

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Manifest":
        """From the values in a file, which `validation.wrong_info` has found to be right."""
        stored = {field.name: values[field.name] for field in fields(cls)}
        shards = tuple(map(ShardEntry.from_json, values["shards"]))
        return cls(**stored | {"classes": tuple(values["classes"]), "shards": shards})

    def text(self) -> str:
        """The file: a line a key and a line a shard. The last line is the SHA-256 of those
        above."""
        *others, _ = vars(self).items()
        lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in others]
        shards = ",\n".join(json.dumps(vars(shard)) for shard in self.shards)
        text = "{\n" + ",\n".join([*lines, f'"shards": [\n{shards}\n]']) + ",\n"
        return f'{text}"sha256_above": "{sha256(text.encode()).hexdigest()}"\n}}\n'


def is_as_written(text: bytes) -> bool:
    """Whether a dataset.json is what `Manifest.text` made, by its last line."""
    above, mark, rest = text.rpartition(b'"sha256_above": ')
    return rest == f'"{sha256(above).hexdigest()}"\n}}\n'.encode() and bool(mark)


def shard_files(folder: Path, dataset: str) -> list[Path]:
    """The files that are called as this data set's shards are."""
    pattern = re.escape(f"{dataset}-") + r"\d{6}\.tar"
    return [path for path in folder.iterdir() if re.fullmatch(pattern, path.name)]


def fingerprint(folder: Path) -> str:
    """sha256 of a data set's `dataset.json`, which holds those of all its shards."""
    return sha256((folder / DATASET_FILE).read_bytes()).hexdigest()
