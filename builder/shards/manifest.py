"""`dataset.json`: the contents of a data set and their locations. A build writes it last."""

import json
import re
from dataclasses import dataclass, fields
from hashlib import sha256
from pathlib import Path
from typing import Any

from builder.shards.format import Location

# Schema 3 stores frame times where frames are unevenly spaced, and converts colours to BT.601,
# as JPEG readers assume; schema 2 took all frames for evenly spaced, and kept the file's matrix.
SCHEMA = 3  # is written
READABLE = (2, SCHEMA)
NOTES = ".build"  # of a build that goes on, in the folder of its shards
DATASET_FILE = "dataset.json"
VIDEOS_FILE = "videos.jsonl"


@dataclass(frozen=True)
class ShardEntry:
    """One shard.

    Attributes:
        name: file name
        splits: the split membership, which all its videos share
        samples: number of videos
        frames: of all its videos
        bytes: of the file
        sha256: of the file
        index: locations of its samples, in their order
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
        """Convert an entry of the file, which `validation.wrong_shard` must have checked."""
        stored = {field.name: values[field.name] for field in fields(cls)}
        return cls(**stored | {"index": tuple(Location(*where) for where in values["index"])})


@dataclass(frozen=True)
class Manifest:
    """The content of `dataset.json`, key for key.

    Attributes:
        schema: version of the format
        dataset: its name
        counts: videos expected and built, failures and warnings by reason, frames, bytes, ...
        classes: in the order of the labels
        settings: all settings that determine the bytes of the build
        videos_jsonl_sha256: of `videos.jsonl`
        shards: in the order of their numbers
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
        """Convert the content of the file, which `validation.wrong_info` must have checked."""
        stored = {field.name: values[field.name] for field in fields(cls)}
        shards = tuple(map(ShardEntry.from_json, values["shards"]))
        return cls(**stored | {"classes": tuple(values["classes"]), "shards": shards})

    def text(self) -> str:
        """The text of the file: one line per key and per shard, then the SHA-256 of the lines
        above."""
        *others, _ = vars(self).items()
        lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in others]
        shards = ",\n".join(json.dumps(vars(shard)) for shard in self.shards)
        text = "{\n" + ",\n".join([*lines, f'"shards": [\n{shards}\n]']) + ",\n"
        return f'{text}"sha256_above": "{sha256(text.encode()).hexdigest()}"\n}}\n'


def is_as_written(text: bytes) -> bool:
    """Whether a dataset.json is unchanged since `Manifest.text` made it, by its last line."""
    above, mark, rest = text.rpartition(b'"sha256_above": ')
    return rest == f'"{sha256(above).hexdigest()}"\n}}\n'.encode() and bool(mark)


def shard_files(folder: Path, dataset: str) -> list[Path]:
    """Files in a folder that are named as shards of this data set."""
    pattern = re.escape(f"{dataset}-") + r"\d{6}\.tar"
    return [path for path in folder.iterdir() if re.fullmatch(pattern, path.name)]


def fingerprint(folder: Path) -> str:
    """SHA-256 of a data set's `dataset.json`, which holds the hashes of all its shards."""
    return sha256((folder / DATASET_FILE).read_bytes()).hexdigest()
