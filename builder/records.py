"""What a build knows of itself: its identity, the records of finished shards, and dataset.json.

A record (`.build/000007.json`) is a shard's done-marker. When every shard has one, they are put
together into videos.jsonl and, last of all, dataset.json; then they are taken away.
"""

import json
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from builder.catalog.source import Catalog
from builder.errors import BuilderError
from builder.frames import FrameSettings
from builder.plan import ShardPlan
from builder.shard import DATASET_FILE, SCHEMA, VIDEOS_FILE, write_atomically
from builder.transcode import engine_version

NOTES = ".build"


@dataclass(frozen=True)
class Record:
    """A finished shard."""

    index: int  # of the plan
    shard: dict[str, Any] | None  # its entry of dataset.json; None if no video of it was built
    rows: list[dict[str, Any]]  # of videos.jsonl


def record_path(folder: Path, index: int) -> Path:
    return folder / NOTES / f"{index:06d}.json"


def save_record(folder: Path, record: Record) -> None:
    write_atomically(record_path(folder, record.index), json.dumps(asdict(record)))


def read_record(folder: Path, index: int) -> Record:
    return Record(**json.loads(record_path(folder, index).read_text(encoding="utf-8")))


def is_finished(folder: Path) -> bool:
    return (folder / DATASET_FILE).is_file()


def identity_of(catalog: Catalog, frames: FrameSettings, videos_per_shard: int) -> dict[str, Any]:
    """What must be equal for a build to go on: settings, and what the catalog says of the videos.
    (Their sizes are in their rows.)"""
    videos = sha256()
    for video in catalog.videos:
        row = [video.name, video.class_name, video.group, video.splits, video.factors]
        videos.update(json.dumps(row).encode())
    return {
        "dataset": catalog.dataset,
        **asdict(frames),
        "engine": engine_version(frames.engine),
        "videos_per_shard": videos_per_shard,
        "videos": len(catalog.videos),
        "videos_sha256": videos.hexdigest(),
    }


def begin(folder: Path, identity: dict[str, Any]) -> None:
    """Say what is built here. Raises BuilderError if it is something else."""
    (folder / NOTES).mkdir(exist_ok=True)
    path = folder / NOTES / "identity.json"
    earlier: dict[str, Any] = {}
    if is_finished(folder):
        earlier = json.loads((folder / DATASET_FILE).read_text(encoding="utf-8"))["settings"]
    elif path.is_file():
        earlier = json.loads(path.read_text(encoding="utf-8"))
    else:
        write_atomically(path, json.dumps(identity))
    if changed := [key for key in identity if earlier and earlier.get(key) != identity[key]]:
        key = changed[0]
        what = (
            "of other source videos (names, classes, groups or splits have changed)"
            if key in ("videos", "videos_sha256")
            else f"with {key} = {earlier.get(key)}, and now it is {identity[key]}"
        )
        raise BuilderError(
            f"{folder} was built {what}. Restore that, name another folder with --out, or give "
            "--overwrite to build it anew."
        )


def clear(folder: Path, dataset: str) -> None:
    """Take an earlier build away: its done-marker first, then all that it is made of."""
    (folder / DATASET_FILE).unlink(missing_ok=True)
    shutil.rmtree(folder / NOTES, ignore_errors=True)
    for pattern in (f"{dataset}-" + 6 * "[0-9]" + ".tar", VIDEOS_FILE):
        for path in folder.glob(pattern):
            path.unlink()
    clear_partials(folder)


def clear_partials(folder: Path) -> None:
    """Take away what killed builds left behind."""
    for place in (folder, folder / NOTES):
        for path in place.glob("*.partial"):
            path.unlink(missing_ok=True)


def finish(
    catalog: Catalog, folder: Path, identity: dict[str, Any], plans: Sequence[ShardPlan]
) -> None:
    """Put the shards' records together: videos.jsonl, then dataset.json, the done-marker."""
    records = [read_record(folder, plan.index) for plan in plans]
    rows = sorted((row for record in records for row in record.rows), key=lambda r: r["key"])
    shards = [record.shard for record in records if record.shard]
    built = [row for row in rows if row["status"] == "built"]
    failed = Counter(row["reason"] for row in rows if row["status"] == "failed")
    warnings = Counter(word for row in built for word in row["warnings"])
    left_alone = [
        {"key": None, "name": name, "status": "ignored", "reason": reason}
        for name, reason in catalog.left_alone
    ]
    table = "".join(json.dumps(row) + "\n" for row in [*rows, *left_alone])
    info = {
        "schema": SCHEMA,
        "dataset": catalog.dataset,
        "counts": {
            "expected": len(rows),
            "built": len(built),
            "failed": dict(sorted(failed.items())),
            "warnings": dict(sorted(warnings.items())),
            "ignored": len(left_alone),
            "frames": sum(row["frames"] for row in built),
            "bytes": sum(shard["bytes"] for shard in shards),
            "source_bytes": sum(row["source_bytes"] or 0 for row in rows),
        },
        "classes": list(catalog.classes),
        "settings": identity,
        "videos_jsonl_sha256": sha256(table.encode()).hexdigest(),
        "shards": shards,
    }
    write_atomically(folder / VIDEOS_FILE, table)
    write_atomically(folder / DATASET_FILE, _readable(info))


def _readable(info: dict[str, Any]) -> str:
    """JSON with a line a key and a line a shard."""
    lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in info.items()]
    lines[-1] = '"shards": [\n' + ",\n".join(json.dumps(s) for s in info["shards"]) + "\n]"
    return "{\n" + ",\n".join(lines) + "\n}\n"


def reopen(folder: Path, identity: dict[str, Any], plans: Sequence[ShardPlan]) -> None:
    """Make a finished data set a build with all its records again."""
    info = json.loads((folder / DATASET_FILE).read_text(encoding="utf-8"))
    rows = {}
    with (folder / VIDEOS_FILE).open(encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            rows[row["key"]] = row
    shards = {shard["name"]: shard for shard in info["shards"]}
    for plan in plans:
        own = [rows[key] for key in plan.keys]
        name = next((row["shard"] for row in own if row["status"] == "built"), None)
        save_record(folder, Record(plan.index, shards[name] if name else None, own))
    write_atomically(folder / NOTES / "identity.json", json.dumps(identity))
    (folder / DATASET_FILE).unlink()
