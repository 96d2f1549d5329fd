"""Disturb a command while it runs, repeat it, and compare its result."""

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
    """The result of an undisturbed job, and how long it took."""

    result: Result
    seconds: float


def undisturbed(job: Job, folder: Path) -> Expected:
    fresh(job, folder)
    began = time.monotonic()
    succeeded(ascnet(*job.words, cwd=folder))
    return Expected(job.result(folder), time.monotonic() - began)


def fresh(job: Job, folder: Path) -> None:
    """Empty the folder and prepare the job there."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    job.prepare(folder)


def stopped(
    job: Job, expected: Expected, folder: Path, rng: random.Random, number: signal.Signals
) -> None:
    """Start the command and send it a signal at a random moment; one to three times."""
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
    """Disturb the job, then repeat the command: its result must equal that of an undisturbed
    run."""
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
