"""Disturb a command while it runs, repeat it, and compare its result."""

import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from subprocess import CompletedProcess

from tests.drills.endings import problem_of
from tests.drills.jobs import Job, Result
from tests.drills.outcome import Outcome, Try, last_line, tally
from tests.drills.scene import ascnet, begin, said_by, silent_failure, succeeded

_TIMED = 3  # undisturbed runs


@dataclass(frozen=True)
class Expected:
    """What an undisturbed job makes.

    Attributes:
        seconds: median of several runs
        room: KiB of disk space that the job takes
    """

    result: Result
    seconds: float
    room: int = 0


@dataclass(frozen=True)
class Blow:
    """What a disturbance did.

    Attributes:
        hit: whether it came while the command ran
        problem: what was wrong with how the command ended
    """

    hit: bool
    problem: str = ""


def undisturbed(job: Job, folder: Path, runs: int = _TIMED) -> Expected:
    ascnet("--version", cwd=Path())  # its modules are loaded once, which takes long
    seconds = []
    for _ in range(runs):
        fresh(job, folder)
        before, began = room_in(folder), time.monotonic()
        succeeded(ascnet(*job.words, cwd=folder))
        seconds.append(time.monotonic() - began)
    return Expected(job.result(folder), median(seconds), room_in(folder) - before)


def fresh(job: Job, folder: Path) -> None:
    """Empty the folder and prepare the job there."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    job.prepare(folder)


def room_in(folder: Path) -> int:
    """Disk space in KiB that the files of a folder take."""
    return sum(path.lstat().st_blocks for path in folder.rglob("*")) // 2


def stopped(
    job: Job, expected: Expected, folder: Path, rng: random.Random, number: signal.Signals
) -> Blow:
    """Start the command and send it a signal at a random moment; one to three times."""
    hit, problems = False, []
    for _ in range(rng.randint(1, 3)):
        process = begin(*job.words, cwd=folder)
        time.sleep(rng.uniform(0, expected.seconds))
        ran = process.runs()
        if ran:
            os.kill(process.pid, number)
        problem = problem_of(process.pid, process.runs, process.end, number, ran)
        hit |= ran
        problems += [problem] if problem else []
    return Blow(hit, "; ".join(problems))


def drill(
    name: str,
    job: Job,
    expected: Expected,
    folder: Path,
    tries: int,
    disturb: Callable[[], Blow],
) -> Outcome:
    """Disturb the job, then repeat the command: its result must equal that of an undisturbed
    run."""

    def once() -> Try:
        fresh(job, folder)
        blow = disturb()
        if not blow.hit and not blow.problem:
            return Try(hit=False)
        return repeated(job, expected, folder, blow.problem)

    return tally(f"{name}: {job.name}", tries, once)


def repeated(job: Job, expected: Expected, folder: Path, problem: str = "") -> Try:
    """Repeat the command, after which nothing must be missing, different or left over. `problem`:
    what was wrong before."""
    return judged(job, expected, folder, ascnet(*job.words, cwd=folder), problem)


def judged(
    job: Job, expected: Expected, folder: Path, done: CompletedProcess[str], problem: str = ""
) -> Try:
    """Compare what a command that has ended made. `problem`: what was wrong before."""
    if done.returncode:
        return Try(lost=said_by(done), wrong=problem or silent_failure(done))
    left = sorted(path.name for path in folder.rglob("*.partial*"))
    found = [
        problem,
        different(expected.result, job.result(folder)),
        f"left over: {', '.join(left)}" if left else "",
    ]
    return Try(wrong="; ".join(filter(None, found)))


def different(expected: Result, result: Result) -> str:
    """The names of what differs; "": nothing."""
    names = [
        name
        for name in sorted(expected.keys() | result.keys())
        if name not in expected or name not in result or expected[name] != result[name]
    ]
    return last_line(f"another result: {', '.join(names)}") if names else ""
