"""Drills with few file descriptors, a clock that was set back, and two commands in one folder."""

import os
import random
import resource
import time
from collections.abc import Mapping
from pathlib import Path

from tests.drills.disturb import Blow, Expected, drill, fresh, judged
from tests.drills.jobs import Job
from tests.drills.outcome import Outcome, Try, tally
from tests.drills.scene import Scene, begin, silent_failure
from tests.processes import begin_ascnet, start

HANDLES = 64
DAY = 86_400 * 10**9  # nanoseconds


def with_few_handles(words: list[str]) -> None:
    """Run `ascnet` in this process with at most HANDLES open files."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (HANDLES, HANDLES))
    begin_ascnet(words)


def few_handles(job: Job, expected: Expected, folder: Path) -> Outcome:
    """Run the job with HANDLES file descriptors: it must succeed, or say that it needs more."""

    def once() -> Try:
        fresh(job, folder)
        words = [str(word) for word in job.words]
        process = start(with_few_handles, words, cwd=folder, OMP_NUM_THREADS="1")
        return judged(job, expected, folder, process.end(timeout=600))

    return tally(f"{HANDLES} file handles: {job.name}", 1, once)


def clock_set_back(
    scene: Scene, job: Job, expected: Expected, folder: Path, rng: random.Random, tries: int
) -> Outcome:
    """Kill the job and date all its files, videos and shards a day ahead, as if the clock had been
    set back."""
    sources = (scene.videos, scene.more, scene.shards)
    dates = {p: p.stat().st_mtime_ns for source in sources for p in source.rglob("*")}

    def disturb() -> Blow:
        process = begin(*job.words, cwd=folder)
        time.sleep(rng.uniform(0, expected.seconds))
        ran = process.runs()
        process.process.kill()
        process.end()
        _date(dates, DAY)
        _date({path: path.lstat().st_mtime_ns for path in folder.rglob("*")}, DAY)
        return Blow(ran)

    try:
        return drill("clock set back a day", job, expected, folder, tries, disturb)
    finally:
        _date(dates, 0)


def _date(dates: Mapping[Path, int], later: int) -> None:
    """Date files `later` nanoseconds after the given times."""
    for path, date in dates.items():
        os.utime(path, ns=(date + later, date + later), follow_symlinks=False)


def two_at_once(
    job: Job, expected: Expected, folder: Path, rng: random.Random, tries: int
) -> Outcome:
    """Run the command twice at once in one folder: the second must wait, or say why it cannot."""

    def disturb() -> Blow:
        first = begin(*job.words, cwd=folder)
        time.sleep(rng.uniform(0, expected.seconds / 2))
        both_ran = first.runs()
        second = begin(*job.words, cwd=folder)
        ended = (first.end(600), second.end(600))
        return Blow(both_ran, "; ".join(filter(None, map(silent_failure, ended))))

    return drill("two at once", job, expected, folder, tries, disturb)
