"""Ctrl-C, as a terminal sends it: SIGINT to the command and all processes that it started, at a
random moment, imports included."""

import os
import random
import signal
import time
from contextlib import suppress
from pathlib import Path
from statistics import median

from tests.drills.disturb import Blow, Expected, drill, fresh
from tests.drills.endings import problem_of
from tests.drills.jobs import Job
from tests.drills.outcome import Outcome
from tests.drills.scene import begin_alone, end_of, succeeded

STARTED = 0.3  # seconds after which Python itself has surely started
_TIMED = 3  # undisturbed runs


def interrupted(
    job: Job, expected: Expected, folder: Path, rng: random.Random, tries: int
) -> Outcome:
    """Interrupt the job, and repeat the command. Wrong is also a traceback, an exit status other
    than 130 (or 0 at the very end), or a process that stays behind."""

    seconds = median(_duration(job, folder) for _ in range(_TIMED))
    late = 0  # tries in a row that came too late, as the job has become faster than it was

    def disturb() -> Blow:
        nonlocal late
        latest = max(STARTED, seconds / 2**late)
        blow = _interrupt(job, folder, rng.uniform(STARTED, latest))
        late = 0 if blow.hit else late + 1
        return blow

    return drill("Ctrl-C", job, expected, folder, tries, disturb)


def _duration(job: Job, folder: Path) -> float:
    """Seconds that the job takes, imports included."""
    fresh(job, folder)
    began = time.monotonic()
    succeeded(end_of(begin_alone(*job.words, cwd=folder)))
    return time.monotonic() - began


def _interrupt(job: Job, folder: Path, moment: float) -> Blow:
    process = begin_alone(*job.words, cwd=folder)
    time.sleep(moment)
    ran = process.poll() is None
    with suppress(ProcessLookupError):  # it was done before
        os.killpg(process.pid, signal.SIGINT)
    problem = problem_of(
        process.pid,
        lambda: process.poll() is None,
        lambda: end_of(process),
        signal.SIGINT,
        ran,
    )
    return Blow(ran, f"after {moment:.2f} s {problem}" if problem else "")
