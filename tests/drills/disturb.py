"""Disturb a command while it works, give it again, and look at what it leaves."""

import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.drills.jobs import Job, Result
from tests.drills.outcome import Outcome
from tests.drills.scene import ascnet, begin, is_a_sentence, succeeded


@dataclass(frozen=True)
class Expected:
    """What a job leaves undisturbed, and how long it takes."""

    result: Result
    seconds: float


def undisturbed(job: Job, folder: Path) -> Expected:
    fresh(job, folder)
    began = time.monotonic()
    succeeded(ascnet(*job.words, cwd=folder))
    return Expected(job.result(folder), time.monotonic() - began)


def fresh(job: Job, folder: Path) -> None:
    """The folder as it is before the job."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    job.prepare(folder)


def stopped(
    job: Job, expected: Expected, folder: Path, rng: random.Random, number: signal.Signals
) -> None:
    """Send the command a signal, once to three times, each at a random moment."""
    for _ in range(rng.randint(1, 3)):
        process = begin(*job.words, cwd=folder)
        time.sleep(rng.uniform(0, expected.seconds))
        if process.runs():
            os.kill(process.pid, number)
        process.end()


def drill(
    name: str,
    job: Job,
    expected: Expected,
    folder: Path,
    tries: int,
    disturb: Callable[[], object],
) -> Outcome:
    """Disturb the job, then give the same command again: it has to end as undisturbed."""
    lost = wrong = 0
    notes: list[str] = []
    for _ in range(tries):
        fresh(job, folder)
        disturb()
        done = ascnet(*job.words, cwd=folder)
        if done.returncode:
            lost += 1
            wrong += not is_a_sentence(done)
            notes.append(done.stderr.strip().splitlines()[-1][:120])
        elif job.result(folder) != expected.result:
            wrong += 1
            notes.append("another result")
    return Outcome(f"{name}: {job.name}", tries, lost, wrong, "; ".join(dict.fromkeys(notes)))
