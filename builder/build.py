"""Run a plan: every video accounted for, every shard whole or absent, resumable after any kill."""

import json
import os
import shutil
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from builder.catalog.source import Catalog, Source
from builder.errors import BuilderError
from builder.executors import run_local
from builder.plan import ShardPlan, plan_shards
from builder.shard import (
    DATASET_FILE,
    SCHEMA,
    VIDEOS_FILE,
    Sample,
    ShardWriter,
    only_writer,
    shard_name,
    write_atomically,
)
from builder.transcode import Failure, Frames, FrameSettings, ffmpeg_version, transcode

Progress = Callable[[int, int, str], None]  # done, total, what is being done


@dataclass(frozen=True)
class BuildSettings:
    """Everything that decides the bytes of a build, the videos aside."""

    frames: FrameSettings = field(default_factory=FrameSettings)
    videos_per_shard: int = 128


@dataclass(frozen=True)
class Summary:
    """What a build came to."""

    folder: Path
    counts: dict[str, Any]  # expected, built, failed by reason, warnings, frames, bytes
    built_now: int  # videos transcoded by this run
    left_alone: tuple[tuple[str, str], ...]  # (file, why it is no video of the data set)

    def sentence(self) -> str:
        """ "60 expected, 59 built, 1 failed: truncated 1"."""
        failed, warnings = self.counts["failed"], self.counts["warnings"]
        built = f"{self.counts['expected']} expected, {self.counts['built']} built"
        if warnings:
            built += f" ({_list_counts(warnings)})"
        text = f"{built}, {sum(failed.values())} failed"
        return f"{text}: {_list_counts(failed)}" if failed else text


def _list_counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{word} {count}" for word, count in counts.items())


def build(
    catalog: Catalog,
    folder: Path,
    settings: BuildSettings,
    workers: int,
    progress: Progress = lambda done, total, text: None,
    overwrite: bool = False,
) -> Summary:
    """Build the shards of a catalog into `folder`, or go on with a build that was interrupted.

    The unit of work is a shard: a kill costs the shards that were being written. Raises
    BuilderError if `folder` holds a build of other videos or settings (unless `overwrite`), if
    another build is writing there, if a video vanishes, or if the disk refuses.
    """
    identity = _identity(catalog, settings)
    notes = folder / ".build"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with only_writer(folder):
            if overwrite:
                _clear(folder, catalog.dataset)
            _must_be_same_build(folder, identity)
            notes.mkdir(exist_ok=True)
            built_now = 0
            if not (folder / DATASET_FILE).is_file():
                write_atomically(notes / "identity.json", json.dumps(identity))
                plans = plan_shards(catalog.videos, settings.videos_per_shard)
                built_now = _build_shards(catalog, folder, settings, plans, workers, progress)
                _finish(catalog, folder, identity, plans)
            shutil.rmtree(notes)
    except OSError as error:
        raise BuilderError(
            f"Cannot write to {folder}: {error.strerror or error}. What is finished is kept; make "
            "room or name another folder with --out, and run the same command again."
        ) from error
    counts = json.loads((folder / DATASET_FILE).read_text(encoding="utf-8"))["counts"]
    return Summary(folder, counts, built_now, catalog.left_alone)


def _identity(catalog: Catalog, settings: BuildSettings) -> dict[str, Any]:
    """What must be equal for a build to go on: settings, and the videos' names, sizes, splits."""
    videos = sha256()
    for video in catalog.videos:
        size = video.path.stat().st_size if video.path.is_file() else -1
        row = [video.name, size, video.class_name, video.group, video.splits, video.factors]
        videos.update(json.dumps(row).encode())
    return {
        "dataset": catalog.dataset,
        **asdict(settings.frames),
        "videos_per_shard": settings.videos_per_shard,
        "ffmpeg": ffmpeg_version(),
        "videos": len(catalog.videos),
        "videos_sha256": videos.hexdigest(),
    }


def _must_be_same_build(folder: Path, identity: dict[str, Any]) -> None:
    earlier: dict[str, Any] = {}
    if (folder / DATASET_FILE).is_file():
        earlier = json.loads((folder / DATASET_FILE).read_text(encoding="utf-8"))["settings"]
    elif (folder / ".build" / "identity.json").is_file():
        earlier = json.loads((folder / ".build" / "identity.json").read_text(encoding="utf-8"))
    changed = [key for key in identity if earlier and earlier.get(key) != identity[key]]
    if changed:
        key = changed[0]
        what = (
            "of other source videos (names, sizes, classes or splits have changed)"
            if key == "videos_sha256"
            else f"with {key} = {earlier.get(key)}, and now it is {identity[key]}"
        )
        raise BuilderError(
            f"{folder} was built {what}. Restore that, name another folder with --out, or give "
            "--overwrite to build it anew."
        )


def _build_shards(
    catalog: Catalog,
    folder: Path,
    settings: BuildSettings,
    plans: tuple[ShardPlan, ...],
    workers: int,
    progress: Progress,
) -> int:
    """Build the shards that have no record yet; returns how many videos were transcoded."""
    for leftover in folder.glob("*.partial"):
        leftover.unlink()
    open_plans = [plan for plan in plans if not _record_path(folder, plan).is_file()]
    total = len(catalog.videos)
    done = total - sum(len(plan.keys) for plan in open_plans)

    def work(key: int) -> Frames | Failure:
        video = catalog.videos[key]
        if video.problem:
            return Failure(video.problem, "")
        result = transcode(video.path, settings.frames)
        if isinstance(result, Failure) and result.reason == "missing":
            raise BuilderError(
                f"{video.path} was there when the build began and is gone now. What is finished is "
                "kept: bring it back and run the same command again, or build without it with "
                "--overwrite."
            )
        return result

    keys = [key for plan in open_plans for key in plan.keys]
    with closing(run_local(work, keys, workers)) as results:
        for plan in open_plans:
            writer = ShardWriter(folder / shard_name(catalog.dataset, plan.index))
            rows = []
            try:
                for key in plan.keys:
                    rows.append(_store(writer, catalog, key, next(results)))
                    done += 1
                    progress(done, total, catalog.videos[key].name)
                _close_shard(folder, plan, writer, rows)
            except BaseException:
                writer.discard()
                raise
    return len(keys)


def _clear(folder: Path, dataset: str) -> None:
    """Take an earlier build away: its done-marker first, then all that it is made of."""
    (folder / DATASET_FILE).unlink(missing_ok=True)
    shutil.rmtree(folder / ".build", ignore_errors=True)
    shard = f"{dataset}-" + 6 * "[0-9]" + ".tar"
    for pattern in (shard, f"{shard}.partial", VIDEOS_FILE):
        for path in folder.glob(pattern):
            path.unlink()


def _store(
    writer: ShardWriter, catalog: Catalog, key: int, result: Frames | Failure
) -> dict[str, Any]:
    """Add a video to its shard; its row of videos.jsonl comes back."""
    video = catalog.videos[key]
    row = _row(catalog, key, video)
    if isinstance(result, Failure):
        return row | {"status": "failed", "reason": result.reason, "detail": result.detail}
    sample = Sample(
        name=video.name,
        class_name=video.class_name,
        label=catalog.label(video),
        group=video.group,
        splits=video.splits,
        fps=result.fps,
        width=result.width,
        height=result.height,
        offsets=result.offsets,
        sha256=result.sha256,
        factors=video.factors,
    )
    writer.add(key, sample, result.blob)
    return row | {
        "status": "built",
        "shard": writer.path.name,
        "fps": result.fps,
        "frames": len(result.offsets) - 1,
        "width": result.width,
        "height": result.height,
        "bytes": len(result.blob),
        "sha256": result.sha256,
        "warnings": list(result.warnings),
    }


def _row(catalog: Catalog, key: int, video: Source) -> dict[str, Any]:
    return {
        "key": key,
        "name": video.name,
        "class": video.class_name,
        "label": catalog.label(video),
        "group": video.group,
        "splits": video.splits,
        "factors": video.factors,
    }


def _close_shard(
    folder: Path, plan: ShardPlan, writer: ShardWriter, rows: list[dict[str, Any]]
) -> None:
    """Give the shard its name, then write its record, which says that it is done."""
    shard = None
    if writer.locations:
        writer.close()
        with writer.path.open("rb") as file:
            digest = _sha256_of_file(file.fileno())
        shard = {
            "name": writer.path.name,
            "splits": plan.splits,
            "samples": len(writer.locations),
            "frames": sum(row.get("frames", 0) for row in rows),
            "bytes": writer.path.stat().st_size,
            "sha256": digest,
            "index": [
                [where.key, where.start, where.json_bytes, where.blob_bytes]
                for where in writer.locations
            ],
        }
    else:
        writer.discard()
    write_atomically(_record_path(folder, plan), json.dumps({"shard": shard, "rows": rows}))


def _sha256_of_file(descriptor: int) -> str:
    digest = sha256()
    while block := os.read(descriptor, 1 << 20):
        digest.update(block)
    return digest.hexdigest()


def _record_path(folder: Path, plan: ShardPlan) -> Path:
    return folder / ".build" / f"{plan.index:06d}.json"


def _finish(
    catalog: Catalog, folder: Path, identity: dict[str, Any], plans: tuple[ShardPlan, ...]
) -> None:
    """Put the shards' records together: videos.jsonl, then dataset.json, the done-marker."""
    records = [json.loads(_record_path(folder, plan).read_text()) for plan in plans]
    rows = sorted((row for record in records for row in record["rows"]), key=lambda r: r["key"])
    shards = [record["shard"] for record in records if record["shard"]]
    built = [row for row in rows if row["status"] == "built"]
    failed = Counter(row["reason"] for row in rows if row["status"] == "failed")
    warnings = Counter(word for row in built for word in row["warnings"])
    info = {
        "schema": SCHEMA,
        "dataset": catalog.dataset,
        "counts": {
            "expected": len(rows),
            "built": len(built),
            "failed": dict(sorted(failed.items())),
            "warnings": dict(sorted(warnings.items())),
            "frames": sum(row["frames"] for row in built),
            "bytes": sum(shard["bytes"] for shard in shards),
        },
        "classes": list(catalog.classes),
        "settings": identity,
        "shards": shards,
    }
    rows += [
        {"key": None, "name": name, "status": "ignored", "reason": reason}
        for name, reason in catalog.left_alone
    ]
    write_atomically(folder / VIDEOS_FILE, "".join(json.dumps(row) + "\n" for row in rows))
    write_atomically(folder / DATASET_FILE, _readable(info))


def _readable(info: dict[str, Any]) -> str:
    """JSON with a line a key and a line a shard."""
    lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in info.items()]
    lines[-1] = '"shards": [\n' + ",\n".join(json.dumps(s) for s in info["shards"]) + "\n]"
    return "{\n" + ",\n".join(lines) + "\n}\n"
