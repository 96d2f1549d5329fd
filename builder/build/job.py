"""The job of building one shard, on this machine or another."""

import json
import socket
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from builder.build.assemble import OpenShard, row_of
from builder.build.plan import ShardPlan
from builder.build.reuse import EarlierSample, Made
from builder.catalog.source import Source
from builder.decode.engine import transcode
from builder.decode.frames import Failure, Frames, FrameSettings
from builder.decode.processes import Children
from builder.errors import BuilderError
from builder.shards.format import shard_name
from builder.shards.validation import wrong_row
from builder.shards.video_row import VideoRow
from builder.video_limits import Limits
from builder.workers import run_local


@dataclass(frozen=True)
class ShardJob:
    """One shard to build, with its videos in the order in which to decode them.

    Attributes:
        folder: of the data set
        dataset: its name
        plan: of the shard
        videos: (key, video, label)
        frames: settings of decoding
        limits: of each video
        earlier: by key, samples that are copied instead of decoding the video
    """

    folder: Path
    dataset: str
    plan: ShardPlan
    videos: tuple[tuple[int, Source, int | None], ...]
    frames: FrameSettings
    limits: Limits
    earlier: Mapping[int, EarlierSample] = field(default_factory=dict)


def make_sample(task: ShardJob, key: int, video: Source, label: int | None, by: Children) -> Made:
    """Decode one video, or copy its sample from an earlier build. Raises BuilderError if the video
    has vanished since the build began."""
    shard = shard_name(task.dataset, task.plan.index)
    if key in task.earlier:
        return task.earlier[key].made_for(key, video, label, shard)
    if video.problem:
        result: Frames | Failure = Failure(video.problem, "")
    else:
        result = transcode(video.path, task.frames, task.limits, by)
        if isinstance(result, Failure) and result.reason == "missing":
            raise BuilderError(
                f"{video.path} was there when the build began and is gone now (or the machine "
                f"{socket.gethostname()} does not see it). What is finished is kept: bring it back "
                "and run the same command again, or build without it with --overwrite."
            )
    row, text = row_of(key, video, label, result, shard)
    # A row that no reader accepts would make the record of the finished shard unreadable.
    if wrong := wrong_row(json.loads(json.dumps(row.to_json()))):
        result = Failure("decoder failed", f"it gave an impossible row: {wrong}")
        row, text = row_of(key, video, label, result, shard)
    return row, text, result.blob if isinstance(result, Frames) else b""


def build_here(tasks: list[ShardJob], workers: int) -> Generator[list[VideoRow], None, None]:
    """Build shards on this machine, `workers` videos at a time; yield the row of each video."""
    open_shards: dict[int, OpenShard] = {}
    # A few more threads than decoders: while one hashes or writes, no core idles.
    threads = workers + -(-workers // 8)
    with Children(at_once=workers) as children:

        def build_video(item: tuple[ShardJob, int, Source, int | None]) -> list[VideoRow]:
            task, key, video, label = item
            row, text, blob = make_sample(task, key, video, label, children)
            if open_shards[task.plan.index].deliver(row, text, blob):
                del open_shards[task.plan.index]
            return [row]

        def items() -> Iterator[tuple[ShardJob, int, Source, int | None]]:
            for task in tasks:
                open_shards[task.plan.index] = OpenShard(task.folder, task.dataset, task.plan)
                for video in task.videos:
                    yield task, *video

        try:
            with closing(run_local(build_video, items(), threads, stop=children.stop)) as results:
                yield from results
        finally:
            for shard in list(open_shards.values()):
                shard.discard()


def build_shard(task: ShardJob) -> list[VideoRow]:
    """Build one shard, one video at a time; return its rows."""
    return [row for rows in build_here([task], workers=1) for row in rows]
