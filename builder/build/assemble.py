"""Assemble a shard: videos are finished in any order, and written in the order of the plan."""

import threading
from itertools import pairwise
from pathlib import Path
from typing import Any

from builder.build.plan import ShardPlan
from builder.build.records import Record, save_record
from builder.catalog.source import Source
from builder.decode.frames import Failure, Frames
from builder.shards.format import ShardWriter, shard_name
from builder.shards.manifest import ShardEntry
from builder.shards.video_row import BUILT, FAILED, VideoRow, sample_json


class OpenShard:
    """A shard that is being built. When its last video is delivered, the shard is closed and gets
    its final name; then its record, the done-marker, is written. Thread-safe."""

    def __init__(self, folder: Path, dataset: str, plan: ShardPlan) -> None:
        self._folder, self._plan = folder, plan
        self._path = folder / shard_name(dataset, plan.index)
        self._lock = threading.Lock()
        self._waiting: dict[int | None, tuple[VideoRow, bytes, bytes | bytearray]] = {}
        self._rows: list[VideoRow] = []
        self._writer: ShardWriter | None = None
        self._given_up = False

    def deliver(self, row: VideoRow, text: bytes, blob: bytes | bytearray) -> bool:
        """Add a video's row of videos.jsonl and its sample's JSON and frames (empty if it failed).
        Return True if it was the last one and the shard is closed."""
        with self._lock:
            if self._given_up:
                return False
            self._waiting[row.key] = row, text, blob
            while len(self._rows) < len(self._plan.keys):
                key = self._plan.keys[len(self._rows)]
                if key not in self._waiting:
                    return False
                self._append(key, *self._waiting.pop(key))
            self._close()
            return True

    def _append(self, key: int, row: VideoRow, text: bytes, blob: bytes | bytearray) -> None:
        if row.status == BUILT:
            if self._writer is None:
                self._writer = ShardWriter(self._path)
            self._writer.add(key, text, blob)
        self._rows.append(row)

    def _close(self) -> None:
        shard = None
        if self._writer is not None:
            size, digest = self._writer.close()
            shard = ShardEntry(
                name=self._path.name,
                splits=self._plan.splits,
                samples=len(self._writer.locations),
                frames=sum(row.frames for row in self._rows),
                bytes=size,
                sha256=digest,
                index=tuple(self._writer.locations),
            )
        else:  # a shard of an earlier, larger build must not remain
            self._path.unlink(missing_ok=True)
        save_record(self._folder, Record(self._plan.index, shard, self._rows))
        self._writer, self._given_up = None, True

    def discard(self) -> None:
        """Delete an unfinished shard."""
        with self._lock:
            self._given_up = True
            if self._writer is not None:
                self._writer.discard()


def of_source(key: int, video: Source, label: int | None) -> dict[str, Any]:
    """The fields of a video's row that come from its catalog, not from decoding."""
    return {
        "key": key,
        "name": video.name,
        "class_name": video.class_name,
        "label": label,
        "group": video.group,
        "splits": video.splits,
        "factors": video.factors,
    }


def row_of(
    key: int,
    video: Source,
    label: int | None,
    result: Frames | Failure,
    shard: str,
) -> tuple[VideoRow, bytes]:
    """A video's row of `videos.jsonl`, and its sample's JSON (empty if it was not built)."""
    facts = result.facts
    row = VideoRow(
        **of_source(key, video, label),
        status=FAILED,
        reason=result.reason if isinstance(result, Failure) else None,
        detail=result.detail,
        last_line=facts.last_line,
        source_bytes=facts.source_bytes,
        source_sha256=facts.source_sha256,
        source_fps=facts.fps,
        source_nominal_fps=facts.nominal_fps,
        source_duration=facts.duration,
        rotation=facts.rotation,
        source_stream=facts.stream,
        source_video_streams=facts.video_streams,
    )
    if isinstance(result, Failure):
        return row, b""
    row = row._replace(
        status=BUILT,
        shard=shard,
        fps=result.fps,
        frames=len(result.offsets) - 1,
        width=result.width,
        height=result.height,
        bytes=len(result.blob),
        sha256=result.sha256,
        warnings=result.warnings,
        times=_times(result),
        cuts=result.cuts,
    )
    return row, sample_json(row, result.offsets)


def _times(result: Frames) -> tuple[float, ...] | None:
    """Frame times if frames are unevenly spaced, else None. Raises ValueError for invalid times."""
    times, frames = result.times, len(result.offsets) - 1
    if times is None:
        return None
    if len(times) != frames or times[0] != 0 or any(not b > a for a, b in pairwise(times)):
        raise ValueError(f"{len(times)} times of {frames} frames do not rise from 0: {times[:3]}")
    return times if frames > 1 else None
