"""Retry the failed videos of a build, without decoding the others again."""

from collections.abc import Generator
from contextlib import closing
from pathlib import Path

from builder.build.assemble import OpenShard
from builder.build.job import ShardJob, make_sample
from builder.build.records import Record, read_record, record_path, save_record
from builder.build.reuse import Made, stored_sample
from builder.catalog.source import Source
from builder.decode.processes import Children
from builder.errors import BuilderError
from builder.shards.video_row import FAILED, VideoRow
from builder.workers import run_local

Again = tuple[ShardJob, int, Source, int | None]  # a video to try again: task, key, video, label


def retry_failed(tasks: list[ShardJob], workers: int) -> Generator[list[VideoRow], None, None]:
    """Decode the failed videos of finished shards again; yield the row of each.

    A shard that gains a video is rewritten, and its other samples are copied. Raises BuilderError
    if one of those has changed since it was built.
    """
    failed = {
        task.plan.index: {
            row.key
            for row in read_record(task.folder, task.plan.index).rows
            if row.status == FAILED
        }
        for task in tasks
    }
    again = [(t, *video) for t in tasks for video in t.videos if video[0] in failed[t.plan.index]]
    made: dict[int, dict[int | None, Made]] = {}
    with Children(at_once=workers) as children:

        def make(item: Again) -> tuple[ShardJob, Made]:
            return item[0], make_sample(*item, children)

        with closing(run_local(make, again, workers, stop=children.stop)) as results:
            for task, one in results:
                done = made.setdefault(task.plan.index, {})
                done[one[0].key] = one
                if done.keys() == failed[task.plan.index]:
                    _mend(task, made.pop(task.plan.index))
                yield [one[0]]


def _mend(task: ShardJob, made: dict[int | None, Made]) -> None:
    """Update a shard and its record with the new results of its failed videos."""
    record = read_record(task.folder, task.plan.index)
    if all(row.status == FAILED for row, _, _ in made.values()):
        rows = [made[row.key][0] if row.key in made else row for row in record.rows]
        save_record(task.folder, Record(record.index, record.shard, rows))
        return
    # From here on the shard has no record: after an interruption it is built from scratch.
    record_path(task.folder, record.index).unlink()
    shard = OpenShard(task.folder, task.dataset, task.plan)
    try:
        for row in record.rows:
            shard.deliver(*(made.get(row.key) or _copy(task.folder, record, row)))
    finally:
        shard.discard()


def _copy(folder: Path, record: Record, row: VideoRow) -> Made:
    if row.status == FAILED or record.shard is None:
        return row, b"", b""
    file = folder / record.shard.name
    location = next((where for where in record.shard.index if where.key == row.key), None)
    made = stored_sample(row, file, location)
    if made is None:
        raise BuilderError(
            f"{row.name} in {file} is not what was built: the file was changed "
            "or damaged. `ascnet verify` says more; the same command without --retry-failed builds "
            "that shard anew."
        )
    return made
