"""Run a build: every video gets a row, shards are complete or absent, and any kill is resumable."""

import shutil
import time
from collections import Counter
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from builder.atomic import only_writer
from builder.build.job import ShardJob, build_here
from builder.build.plan import ShardPlan, order_of_work, plan_shards
from builder.build.records import (
    begin,
    clear,
    clear_partials,
    finish,
    identity_of,
    is_finished,
    keep_whole,
    read_record,
    reopen,
)
from builder.build.retry import retry_failed
from builder.build.reuse import EarlierSample
from builder.catalog.source import Catalog, Source
from builder.decode.engine import must_have_engine
from builder.decode.frames import FrameSettings
from builder.errors import BuilderError, OtherBuildError
from builder.progress import Progress, silent
from builder.shards.dataset import ShardDataset
from builder.shards.manifest import NOTES
from builder.shards.video_row import BUILT, FAILED, VideoRow
from builder.system_errors import cannot_write
from builder.video_limits import Limits

Rows = Generator[list[VideoRow], None, None]  # of videos, as they are finished


@dataclass(frozen=True)
class BuildSettings:
    """Everything besides the videos that determines the bytes of a build."""

    frames: FrameSettings = field(default_factory=FrameSettings)
    videos_per_shard: int = 128


@dataclass(frozen=True)
class How:
    """How to run a build. Nothing here changes its bytes.

    Attributes:
        workers: number of videos decoded at the same time
        limits: of each video
        overwrite: delete an earlier build first
        retry_failed: try the failed videos of an earlier build again
        max_failures: stop when more videos have failed; None: never
        shards: build only these, and leave the rest to other machines
        finish_only: build nothing, but combine what other machines have built
        executor: "local" or "ray"
        earlier: by position in the catalog, samples to copy from an earlier build of the same files
            with the same settings
    """

    workers: int = 1
    limits: Limits = field(default_factory=Limits)
    overwrite: bool = False
    retry_failed: bool = False
    max_failures: int | None = None
    shards: slice | None = None
    finish_only: bool = False
    executor: str = "local"
    earlier: Mapping[int, EarlierSample] = field(default_factory=dict)


@dataclass(frozen=True)
class BuildSummary:
    """The result of a build.

    Attributes:
        folder: of the data set
        counts: of dataset.json; None while shards remain to be built
        done_now: number of videos transcoded by this run
        seconds: duration of this run
        changed: number of failed videos whose file has changed since: --retry-failed may build them
        shards_built: number of finished shards
        shards_planned: number of all shards
        left_alone: (file, reason why it is not a video of the data set)
    """

    folder: Path
    counts: dict[str, Any] | None
    done_now: int
    seconds: float
    changed: int
    shards_built: int
    shards_planned: int
    left_alone: tuple[tuple[str, str], ...]

    def sentence(self) -> str:
        """Summarise as "60 expected, 59 built, 1 failed: truncated 1"."""
        if self.counts is None:
            return f"{self.shards_built} of {self.shards_planned} shards are built"
        failed, warnings = self.counts["failed"], self.counts["warnings"]
        built = f"{self.counts['expected']} expected, {self.counts['built']} built"
        if warnings:
            built += f" ({_list_counts(warnings)})"
        text = f"{built}, {sum(failed.values())} failed"
        return f"{text}: {_list_counts(failed)}" if failed else text


def _list_counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{word} {count}" for word, count in counts.items())


def build(
    catalog: Catalog,
    folder: Path,
    settings: BuildSettings,
    how: How,
    progress: Progress = silent,
) -> BuildSummary:
    """Build the shards of a catalog into `folder`, or resume a build that was interrupted.

    The unit of work is a shard: a kill loses the shards that were being written. Raises
    BuilderError if `folder` holds a build of other videos or settings (unless overwritten), if
    another build is writing there, if a video vanishes, if too many fail, or if a file cannot be
    written.
    """
    must_have_engine(settings.frames)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with only_writer(folder, one_of_many=how.shards is not None):
            return _Build(catalog, folder, settings, how, progress).run()
    except OSError as error:
        raise BuilderError(
            f"{cannot_write(folder, error)} Then repeat the command; what is finished is kept."
        ) from error


class _Build:
    """The state of one call of `build`, which holds the folder's lock."""

    def __init__(
        self, catalog: Catalog, folder: Path, settings: BuildSettings, how: How, progress: Progress
    ) -> None:
        self.catalog, self.folder, self.settings, self.how = catalog, folder, settings, how
        self.progress = progress
        self.identity = identity_of(catalog, settings.frames, settings.videos_per_shard)
        self.plans = plan_shards(catalog.videos, settings.videos_per_shard)
        self.sizes = [
            how.earlier[key].row.source_bytes if key in how.earlier else _size(video)
            for key, video in enumerate(catalog.videos)
        ]
        self.failures: Counter[str] = Counter()
        self.done_now = 0

    def run(self) -> BuildSummary:
        began = time.monotonic()
        if self.how.overwrite:
            clear(self.folder, self.catalog.dataset)
        alone = self.how.shards is None
        names = {video.name for video in self.catalog.videos}
        begin(self.folder, self.identity, names, alone=alone)
        if alone and not self.how.finish_only:
            clear_partials(self.folder)
        changed = self._count_changed_files()
        if alone and not self.how.finish_only and self._lacks_shards():
            reopen(self.folder, self.identity, self.plans)  # these are built again
        if self.how.retry_failed:
            changed = 0
            self._retry()
        else:
            self._must_not_fail_too_often("of an earlier run")
        if not is_finished(self.folder):
            self._build_missing()
            if alone:
                finish(self.catalog, self.folder, self.identity, self.plans)
        if is_finished(self.folder):
            shutil.rmtree(self.folder / NOTES, ignore_errors=True)
            counts, built = ShardDataset(self.folder).counts, len(self.plans)
        else:
            counts, built = None, sum(map(self._kept_if_whole, self.plans))
        return BuildSummary(
            folder=self.folder,
            counts=counts,
            done_now=self.done_now,
            seconds=time.monotonic() - began,
            changed=changed,
            shards_built=built,
            shards_planned=len(self.plans),
            left_alone=self.catalog.left_alone,
        )

    def _kept_if_whole(self, plan: ShardPlan) -> bool:
        """Whether a shard is built and whole. If it is not whole, its record is deleted."""
        return keep_whole(self.folder, plan.index)

    def _tasks(self, plans: list[ShardPlan]) -> list[ShardJob]:
        """The jobs of some shards, in the order in which to run them."""
        catalog = self.catalog
        cwd = Path.cwd()  # a job may run in another directory
        at_once = self.how.executor == "local" and self.how.workers > 1

        def item(key: int) -> tuple[int, Source, int | None]:
            video = catalog.videos[key]
            return key, replace(video, path=cwd / video.path), catalog.label(video)

        return [
            ShardJob(
                folder=cwd / self.folder,
                dataset=catalog.dataset,
                plan=plan,
                videos=tuple(map(item, keys)),
                frames=self.settings.frames,
                limits=self.how.limits,
                earlier={k: self.how.earlier[k] for k in plan.keys if k in self.how.earlier},
            )
            for plan, keys in order_of_work(
                plans, [size or 0 for size in self.sizes], at_once=at_once
            )
        ]

    def _count_changed_files(self) -> int:
        """Count the failures so far, and compare the sizes of source files with those in the rows.
        Return the number of failed videos whose file has changed. Raises OtherBuildError if a built
        video's file has."""
        changed = 0
        for row in self._rows_so_far():
            if row.status == FAILED:
                self.failures[str(row.reason)] += 1
            if row.key is None:  # not a video of the data set
                continue
            if row.key >= len(self.sizes):
                raise OtherBuildError(
                    f"{self.folder} has a row of a video number {row.key}, and there are "
                    f"{len(self.sizes)}: it was changed. Give --overwrite to build all anew."
                )
            if row.source_bytes == self.sizes[row.key]:
                continue
            if row.status == BUILT:
                raise OtherBuildError(
                    f"{self.folder} was built when {row.name} had {row.source_bytes} "
                    f"bytes, and now it has {self.sizes[row.key] or 'none'}. Restore the file, "
                    "name another folder with --out, or give --overwrite to build all anew."
                )
            changed += 1
        return changed

    def _lacks_shards(self) -> bool:
        """Whether the data set is finished, and a shard is gone or has another size."""
        if not is_finished(self.folder):
            return False
        shards = (
            (self.folder / s.name, s.bytes) for s in ShardDataset(self.folder).manifest.shards
        )
        return any(not path.is_file() or path.stat().st_size != size for path, size in shards)

    def _rows_so_far(self) -> Iterator[VideoRow]:
        if is_finished(self.folder):
            yield from ShardDataset(self.folder).rows()
        else:
            for plan in filter(self._kept_if_whole, self.plans):
                yield from read_record(self.folder, plan.index).rows

    def _retry(self) -> None:
        if is_finished(self.folder):
            reopen(self.folder, self.identity, self.plans)
        tasks = self._tasks([plan for plan in self.plans if self._kept_if_whole(plan)])
        total = self.failures.total()
        self.failures.clear()
        self._follow(retry_failed(tasks, self.how.workers), 0, total)

    def _build_missing(self) -> None:
        plans = self.plans if self.how.shards is None else self.plans[self.how.shards]
        open_plans = [plan for plan in plans if not self._kept_if_whole(plan)]
        total = sum(len(plan.keys) for plan in plans)
        done = total - sum(len(plan.keys) for plan in open_plans)
        if not open_plans:
            return
        if self.how.finish_only:
            raise BuilderError(
                f"{len(open_plans)} of {len(self.plans)} shards are not built, the first is number "
                f"{open_plans[0].index}: build them with --shards-range, or leave --finish away."
            )
        tasks = self._tasks(open_plans)
        if self.how.executor == "ray":
            from builder.build.ray import build_on_ray  # Ray is optional, and slow to import

            self._follow(build_on_ray(tasks, self.identity["engine"]), done, total)
        else:
            self._follow(build_here(tasks, self.how.workers), done, total)

    def _follow(
        self, results: Generator[list[VideoRow], None, None], done: int, total: int
    ) -> None:
        """Report progress. Raises BuilderError when too many videos have failed."""
        with closing(results):  # on an error, stops all work before it is propagated
            for rows in results:
                done, self.done_now = done + len(rows), self.done_now + len(rows)
                self.progress(done, total, rows[-1].name)
                for row in rows:
                    if row.status == FAILED:
                        self.failures[str(row.reason)] += 1
                        last = f"{row.name}: {row.reason} ({row.detail})"
                        self._must_not_fail_too_often(last)

    def _must_not_fail_too_often(self, last: str) -> None:
        limit, failed = self.how.max_failures, self.failures.total()
        if limit is not None and failed > limit:
            raise BuilderError(
                f"{failed} videos have failed, more than --max-failures {limit} allows "
                f"({_list_counts(self.failures)}); the last is {last}. What is finished is kept; "
                "look at them, or allow more."
            )


def _size(video: Source) -> int | None:
    """Size of a source file in bytes; None if there is no file to decode."""
    if video.problem:
        return None
    try:
        return video.path.stat().st_size
    except OSError:
        return None
