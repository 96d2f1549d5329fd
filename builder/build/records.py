"""The state of a build on disk: its identity, the records of finished shards, and dataset.json.

A record (`.build/000007.json`) is a shard's done-marker. When every shard has one, they are
combined into videos.jsonl and, last of all, dataset.json; then they are deleted.
"""

import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Sequence, Set
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from builder.atomic import is_not_here, partials_in, write_atomically, write_partial
from builder.build.plan import ShardPlan
from builder.catalog.source import Catalog, are_numbers
from builder.decode.engine import engine_version
from builder.decode.frames import FrameSettings
from builder.errors import BuilderError, OtherBuildError
from builder.printable import printable
from builder.shards.dataset import ShardDataset
from builder.shards.manifest import (
    DATASET_FILE,
    NOTES,
    SCHEMA,
    VIDEOS_FILE,
    Manifest,
    ShardEntry,
    shard_files,
)
from builder.shards.stored_json import changed, read_json
from builder.shards.validation import wrong_record
from builder.shards.video_row import BUILT, FAILED, IGNORED, VideoRow

_PATIENCE = 10  # seconds to wait while another machine writes the identity


@dataclass(frozen=True)
class Record:
    """A finished shard.

    Attributes:
        index: number of the shard in the plan
        shard: None if none of its videos was built
        rows: of its videos, in the order of the plan
    """

    index: int
    shard: ShardEntry | None
    rows: list[VideoRow]


def record_path(folder: Path, index: int) -> Path:
    return folder / NOTES / f"{index:06d}.json"


def save_record(folder: Path, record: Record) -> None:
    values = {
        "index": record.index,
        "shard": record.shard and vars(record.shard),
        "rows": [row.to_json() for row in record.rows],
    }
    write_atomically(record_path(folder, record.index), json.dumps(values))


def read_record(folder: Path, index: int) -> Record:
    """Read a shard's record. Raises BuilderError if it is not what a build writes."""
    path = record_path(folder, index)
    try:
        values = read_json(path, _LARGEST_RECORD)
        wrong = wrong_record(values, index)
    except BuilderError as error:
        wrong = str(error)
    if wrong:
        raise OtherBuildError(
            f"{path} is not what a build writes ({wrong.rstrip('.')}). Delete this file and run "
            "the same command again: its shard is built anew."
        )
    shard = values["shard"] and ShardEntry.from_json(values["shard"])
    return Record(index, shard, [VideoRow.from_json(row) for row in values["rows"]])


def keep_whole(folder: Path, index: int) -> bool:
    """Whether a shard has a record, and the size that it states. If the size differs, delete the
    record: the shard was removed, or two machines built it with different results."""
    path = record_path(folder, index)
    if not path.is_file():
        return False
    shard = read_record(folder, index).shard
    if shard is not None:
        file = folder / shard.name
        if not file.is_file() or file.stat().st_size != shard.bytes:
            path.unlink()
            return False
    return True


def is_finished(folder: Path) -> bool:
    return (folder / DATASET_FILE).is_file()


_IDENTITY = "identity.json"
_LARGEST_RECORD = 1 << 30  # bytes; 128 recordings of two hours with uneven frames take 0.3 GB
OF_VIDEOS = ("videos", "videos_sha256")  # keys of an identity that describe the catalog


def identity_of(catalog: Catalog, frames: FrameSettings, videos_per_shard: int) -> dict[str, Any]:
    """The identity of a build, which must not change when it is resumed: settings, and a hash of
    the catalog. (The sizes of the videos' files are in their rows.)"""
    videos = sha256()
    for video in catalog.videos:
        row = [video.name, video.class_name, video.group, video.splits, video.factors]
        videos.update(json.dumps(row).encode())
    if are_numbers(catalog.classes) and list(catalog.classes) != sorted(catalog.classes):
        videos.update(json.dumps(catalog.classes).encode())  # older versions sorted labels as text
    chosen = asdict(frames)
    if not frames.shots:
        del chosen["shots"]  # builds from before this option do not have the key
    return {
        "schema": SCHEMA,
        "dataset": catalog.dataset,
        **chosen,
        "engine": engine_version(frames.engine),
        "videos_per_shard": videos_per_shard,
        "videos": len(catalog.videos),
        "videos_sha256": videos.hexdigest(),
    }


def begin(
    folder: Path, identity: dict[str, Any], names: Set[str] = frozenset(), *, alone: bool
) -> None:
    """Write the identity of a new build of videos of these names, or compare it with that of the
    build in `folder`. `alone` says that no other process builds there. Raises BuilderError if the
    identities differ."""
    path = folder / NOTES / _IDENTITY
    if path.parent.is_symlink():
        raise BuilderError(
            f"{path.parent} is a link, and a build would write where it leads: to "
            f"{os.path.realpath(path.parent)}. Take the link away."
        )
    if is_finished(folder):
        done = folder / DATASET_FILE
        earlier = read_json(done).get("settings")
    else:
        if alone and not path.is_file():
            _remove_notes(folder)  # records of an unknown build are useless
        (folder / NOTES).mkdir(exist_ok=True)
        _write_first(path, json.dumps(identity))
        earlier = read_json(path)
    if not isinstance(earlier, dict):
        raise changed(folder / DATASET_FILE, "it has no settings")
    must_be_built_so(folder, earlier, identity, names)


def must_be_built_so(
    folder: Path,
    earlier: dict[str, Any],
    identity: dict[str, Any],
    names: Set[str] = frozenset(),
) -> None:
    """Raise OtherBuildError, naming the first difference, if the identity `earlier` of the build in
    `folder` differs from `identity`, which is of videos of these names."""
    keys = [*identity, "shots"]  # this key is absent from builds without shots
    if other := [key for key in keys if earlier.get(key) != identity.get(key)]:
        what = _difference(other[0], earlier, identity)
        if other[0] in OF_VIDEOS:
            what = f"of other source videos ({_what_changed(folder, names)})"
        raise OtherBuildError(
            f"{folder} was built {what}. Restore that, name another folder with --out, or give "
            "--overwrite to build it anew."
        )


def _difference(key: str, earlier: dict[str, Any], identity: dict[str, Any]) -> str:
    if key == "schema":
        return (
            f"by another ascnet, in schema {earlier.get(key)} of the format; this one reads it, "
            f"but writes {identity[key]}"
        )
    if key == "shots":
        return "with --shots, and now without" if earlier.get(key) else "without --shots"
    return f"with {key} = {earlier.get(key)}, and now it is {identity[key]}"


def _what_changed(folder: Path, names: Set[str]) -> str:
    """How the videos of a build differ from videos of these names."""
    if not is_finished(folder):
        return "names, classes, groups or splits have changed"
    earlier = {row.name for row in ShardDataset(folder).rows() if row.status != IGNORED}
    parts = [
        f"{len(differ)} {what}: {printable(min(differ))}{', ...' if len(differ) > 1 else ''}"
        for what, differ in (("new", names - earlier), ("gone", earlier - names))
        if differ
    ]
    return "; ".join(parts) or "classes, groups or splits have changed"


def _write_first(path: Path, text: str) -> None:
    """Write a file atomically, unless it exists: if several machines begin at the same moment, only
    one of them writes it."""
    partial = write_partial(path, text)
    try:
        os.link(partial, path)
    except FileExistsError:
        return
    except OSError as error:
        if not is_not_here(error):
            raise
        _create_first(path, text)
    finally:
        partial.unlink()


def _create_first(path: Path, text: str) -> None:
    """As `_write_first`, on file systems without hard links: whoever creates the file writes it,
    and the others wait until it is complete."""
    try:
        file = path.open("x", encoding="utf-8")
    except FileExistsError:
        _wait_until_whole(path)
        return
    try:
        with file:
            file.write(text)
    except BaseException:
        path.unlink()
        raise


def _wait_until_whole(path: Path) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not _is_json(path):
        if time.monotonic() > deadline:
            raise BuilderError(
                f"{path} is not whole: a build has stopped as it began, and this file system has "
                f"no hard links, which prevent that. Take {path.parent} away and run the same "
                "command again."
            )
        time.sleep(0.1)


def _is_json(path: Path) -> bool:
    try:
        read_json(path)
    except BuilderError:
        return False
    return True


def _remove_notes(folder: Path) -> None:
    """Delete the records, and the identity of their build last: after a kill in between, records
    must not be taken for those of a build with other settings."""
    notes = folder / NOTES
    for path in notes.glob("*.json"):
        if path.name != _IDENTITY:
            path.unlink()
    if notes.exists():
        shutil.rmtree(notes)


def clear(folder: Path, dataset: str) -> None:
    """Delete an earlier build: its done-marker first, then all its files."""
    (folder / DATASET_FILE).unlink(missing_ok=True)
    _remove_notes(folder)
    for path in (*shard_files(folder, dataset), folder / VIDEOS_FILE):
        path.unlink(missing_ok=True)
    clear_partials(folder)


def clear_partials(folder: Path) -> None:
    """Delete the partial files of killed builds."""
    for place in (folder, folder / NOTES):
        for path in partials_in(place):
            path.unlink(missing_ok=True)


def finish(
    catalog: Catalog, folder: Path, identity: dict[str, Any], plans: Sequence[ShardPlan]
) -> None:
    """Combine the shards' records into videos.jsonl, then dataset.json, the done-marker."""
    clear_partials(folder)  # left by machines that were lost
    records = [read_record(folder, plan.index) for plan in plans]
    rows = {row.key: row for record in records for row in record.rows}
    shards = tuple(record.shard for record in records if record.shard)
    built = [row for row in rows.values() if row.status == BUILT]
    failed = Counter(str(row.reason) for row in rows.values() if row.status == FAILED)
    warnings = Counter(word for row in built for word in row.warnings)
    ignored = [
        VideoRow(key=None, name=name, status=IGNORED, reason=reason)
        for name, reason in catalog.left_alone
    ]
    in_order = [*(rows[key] for key in range(len(catalog.videos))), *ignored]
    table = "".join(json.dumps(row.to_json()) + "\n" for row in in_order)
    counts = {
        "expected": len(rows),
        "built": len(built),
        "failed": dict(sorted(failed.items())),
        "warnings": dict(sorted(warnings.items())),
        "ignored": len(ignored),
        "frames": sum(row.frames for row in built),
        "bytes": sum(shard.bytes for shard in shards),
        "source_bytes": sum(row.source_bytes or 0 for row in rows.values()),
    }
    manifest = Manifest(
        schema=SCHEMA,
        dataset=catalog.dataset,
        counts=counts,
        classes=catalog.classes,
        settings=identity,
        videos_jsonl_sha256=sha256(table.encode()).hexdigest(),
        shards=shards,
    )
    names = {shard.name for shard in shards}
    for path in shard_files(folder, catalog.dataset):
        if path.name not in names:  # of an earlier, larger build
            path.unlink()
    write_atomically(folder / VIDEOS_FILE, table)
    write_atomically(folder / DATASET_FILE, manifest.text())


def reopen(folder: Path, identity: dict[str, Any], plans: Sequence[ShardPlan]) -> None:
    """Turn a finished data set back into an unfinished build with the records of all its shards."""
    dataset = ShardDataset(folder)
    rows = {row.key: row for row in dataset.rows()}
    shards = {shard.name: shard for shard in dataset.manifest.shards}
    _remove_notes(folder)
    (folder / NOTES).mkdir()
    for plan in plans:
        planned = [rows[key] for key in plan.keys if key in rows]
        name = next((row.shard for row in planned if row.status == BUILT), "")
        if len(planned) < len(plan.keys) or (name and name not in shards):
            raise changed(folder / VIDEOS_FILE, f"it lacks videos of shard {plan.index}")
        save_record(folder, Record(plan.index, shards[name] if name else None, planned))
    write_atomically(folder / NOTES / _IDENTITY, json.dumps(identity))
    (folder / DATASET_FILE).unlink()
