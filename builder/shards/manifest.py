"""The files of a data set that say what is in it, as a build writes them."""

import json
import re
from hashlib import sha256
from pathlib import Path
from typing import Any

# Schema 3 has frame times where frames are unevenly spaced, and its colours are converted to
# BT.601, as JPEGs are understood; schema 2 took all for even, and kept a file's own matrix.
SCHEMA = 3  # what is written
READABLE = (2, SCHEMA)
DATASET_FILE = "dataset.json"
VIDEOS_FILE = "videos.jsonl"


def shard_files(folder: Path, dataset: str) -> list[Path]:
    """The files that are called as this data set's shards are."""
    pattern = re.escape(f"{dataset}-") + r"\d{6}\.tar"
    return [path for path in folder.iterdir() if re.fullmatch(pattern, path.name)]


def text_of(info: dict[str, Any]) -> str:
    """`dataset.json`: a line a key and a line a shard. The last line is the SHA-256 of those
    above."""
    lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in info.items()]
    lines[-1] = '"shards": [\n' + ",\n".join(json.dumps(s) for s in info["shards"]) + "\n]"
    text = "{\n" + ",\n".join(lines) + ",\n"
    return f'{text}"sha256_above": "{sha256(text.encode()).hexdigest()}"\n}}\n'


def is_as_written(text: bytes) -> bool:
    """Whether a dataset.json is what `text_of` made, by its last line."""
    above, mark, rest = text.rpartition(b'"sha256_above": ')
    return rest == f'"{sha256(above).hexdigest()}"\n}}\n'.encode() and bool(mark)
