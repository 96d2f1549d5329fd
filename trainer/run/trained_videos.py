"""The list of videos that a run was trained on, which recognises them under another name or in
other shards.

    runs/.../training_videos.jsonl    a line for each: name, source_sha256 (null: unknown)
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from builder.atomic import write_atomically
from builder.errors import BuilderError
from builder.shards.dataset import ShardDataset
from builder.shards.manifest import fingerprint
from builder.shards.video_row import VideoRow

TRAINING_VIDEOS_FILE = "training_videos.jsonl"
SeenVideo = tuple[str, str | None]  # name, and sha256 of the source file


def training_sources(dataset: ShardDataset, split: str) -> list[SeenVideo]:
    """Names and hashes of the videos that training on a split uses."""
    return [_source(row) for row in dataset.built_rows() if row.splits.get(split) == "train"]


def sources_of(dataset: ShardDataset) -> dict[str, SeenVideo]:
    """Names and hashes of all built videos, by name."""
    return {row.name: _source(row) for row in dataset.built_rows()}


def write_down(run: Path, datasets: Iterable[ShardDataset], split: str) -> None:
    """Write the list of a split's training videos into the run directory."""
    rows = [
        json.dumps({"name": name, "source_sha256": digest}) + "\n"
        for dataset in datasets
        for name, digest in training_sources(dataset, split)
    ]
    write_atomically(run / TRAINING_VIDEOS_FILE, "".join(rows))


def seen_by(
    run: Path, record: dict[str, Any], split: str, dataset: ShardDataset
) -> list[SeenVideo] | None:
    """The videos that a run was trained on. Runs of earlier versions have no such list; it is then
    read from their shards, or from `dataset` if that is the same data set. None if unknown.
    `record`: as of `run_directory.record_of`."""
    written = _read(run / TRAINING_VIDEOS_FILE)
    if written is not None:
        return written
    seen: list[SeenVideo] = []
    for place, digest in zip(record["shards"], record["shards_sha256"], strict=True):
        for folder in (dataset.folder, Path(place)):
            try:
                if fingerprint(folder) == digest:
                    seen += training_sources(ShardDataset(folder), split)
                    break
            except (OSError, BuilderError):
                continue
        else:
            return None
    return seen


def count_seen(tested: Iterable[SeenVideo], seen: Iterable[SeenVideo]) -> int:
    """Number of tested videos that are among those seen: with the same source file, whatever its
    name, or with the same name where a source's hash is unknown."""
    digests: set[str] = set()
    names: set[str] = set()
    unknown: set[str] = set()
    for name, digest in seen:
        names.add(name)
        (digests if digest else unknown).add(digest or name)
    return sum(
        (digest in digests or name in unknown) if digest else name in names
        for name, digest in tested
    )


def _read(path: Path) -> list[SeenVideo] | None:
    """The list in a file; None if the file is missing or damaged (the shards may then have it)."""
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        videos = [(row["name"], row["source_sha256"]) for row in rows]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    is_fine = all(isinstance(n, str) and isinstance(s, str | None) for n, s in videos)
    return videos if videos and is_fine else None


def _source(row: VideoRow) -> SeenVideo:
    return row.name, row.source_sha256
