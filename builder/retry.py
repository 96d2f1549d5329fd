"""Trying the failed videos of a build again, without decoding the others anew."""

from collections.abc import Iterator
from contextlib import closing
from hashlib import sha256
from pathlib import Path

from builder.assemble import OpenShard
from builder.catalog.source import Source
from builder.children import Children
from builder.errors import BuilderError
from builder.executors import run_local
from builder.records import Record, read_record, record_path, save_record
from builder.shard import Location, read_sample
from builder.work import Made, Row, Task, make_sample


def retry_failed(tasks: list[Task], workers: int) -> Iterator[list[Row]]:
    """Decode the failed videos of shards that have a record; the row of each comes back.

    A shard that gains a video is written anew, its other samples copied. Raises BuilderError if one
    of those is not what was built.
    """
    with Children(at_once=workers) as children:
        for task in tasks:
            record = read_record(task.folder, task.plan.index)
            failed = {row["key"] for row in record.rows if row["status"] == "failed"}
            again = [video for video in task.videos if video[0] in failed]

            def make(video: tuple[int, Source, int | None], task: Task = task) -> Made:
                return make_sample(task, *video, children)

            made: dict[int, Made] = {}
            with closing(run_local(make, again, workers, stop=children.stop)) as results:
                for row, text, blob in results:
                    made[row["key"]] = row, text, blob
                    yield [row]
            if made:
                _mend(task, record, made)


def _mend(task: Task, record: Record, made: dict[int, Made]) -> None:
    """Bring a shard and its record up to date."""
    if all(row["status"] == "failed" for row, _, _ in made.values()):
        rows = [made[row["key"]][0] if row["key"] in made else row for row in record.rows]
        save_record(task.folder, Record(record.index, record.shard, rows))
        return
    # From here to the end the shard has no record: if it is cut short, it is built from nothing.
    record_path(task.folder, record.index).unlink()
    shard = OpenShard(task.folder, task.dataset, task.plan)
    try:
        for row in record.rows:
            shard.deliver(*(made.get(row["key"]) or _copy(task.folder, record, row)))
    finally:
        shard.discard()


def _copy(folder: Path, record: Record, row: Row) -> Made:
    if row["status"] == "failed" or record.shard is None:
        return row, b"", b""
    place = next(place for place in record.shard["index"] if place[0] == row["key"])
    text, blob = read_sample(folder / row["shard"], Location(*place))
    if sha256(blob).hexdigest() != row["sha256"]:
        raise BuilderError(
            f"{row['name']} in {folder / row['shard']} is not what was built: the file was changed "
            "or damaged. `ascnet verify` says more; the same command without --retry-failed builds "
            "that shard anew."
        )
    return row, text, blob
