"""Drills with few file descriptors, a clock that was set back, and two commands in one folder; and
whether memory and the number of open files stay constant in a long run."""

import json
import os
import random
import resource
import shutil
import time
from pathlib import Path

from tests.drills.disturb import Blow, Expected, drill, fresh, judged
from tests.drills.jobs import Job
from tests.drills.outcome import Outcome, Try, tally
from tests.drills.scene import SETTINGS, Scene, begin, silent_failure
from tests.processes import begin_ascnet, start

HANDLES = 64
DAY = 86_400


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
    job: Job, expected: Expected, folder: Path, rng: random.Random, tries: int
) -> Outcome:
    """Kill the job and date all its files a day ahead, as if the clock had been set back."""

    def disturb() -> Blow:
        process = begin(*job.words, cwd=folder)
        time.sleep(rng.uniform(0, expected.seconds))
        ran = process.runs()
        process.process.kill()
        process.end()
        for path in folder.rglob("*"):
            seconds = path.lstat().st_mtime + DAY
            os.utime(path, (seconds, seconds), follow_symlinks=False)
        return Blow(ran)

    return drill("clock set back a day", job, expected, folder, tries, disturb)


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


def flat(scene: Scene, folder: Path, steps: int) -> Outcome:
    """Measure memory and open files of a training run, after the first fifth of its steps."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    more = ("--set", f"optim.steps={steps}", "--set", "checkpoint_every=100")
    process = begin("train", scene.shards, *SETTINGS, *more, "--run", "run", cwd=folder)
    seen: list[tuple[int, int, int]] = []
    while process.runs():
        time.sleep(0.2)
        try:
            log = (folder / "run" / "log.jsonl").read_text().splitlines()
            step = int(json.loads(log[-1])["step"])
            handles = len(list(Path(f"/proc/{process.pid}/fd").iterdir()))
            seen.append((step, _resident(process.pid), handles))
        except (OSError, IndexError, ValueError):
            continue  # not begun yet, or just ended
    done = process.end()
    later = [(memory, handles) for step, memory, handles in seen if step >= steps / 5]
    if done.returncode or len(later) < 4:
        return Outcome(f"{steps} steps", 1, 1, int(not later), done.stderr.strip()[-120:])
    half = len(later) // 2
    first, last = later[:half], later[half:]
    growth = _median([m for m, _ in last]) / _median([m for m, _ in first]) - 1
    handles = max(h for _, h in last) - max(h for _, h in first)
    note = (
        f"memory {_median([m for m, _ in last]) / 2**20:.0f} MiB, {100 * growth:+.1f} % from the "
        f"first half to the second; open files {max(h for _, h in last)}, {handles:+d}"
    )
    return Outcome(f"{steps} steps", 1, 0, int(growth > 0.05 or handles > 2), note)


def _resident(pid: int) -> int:
    """Resident memory of a process in bytes."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def _median(values: list[int]) -> float:
    return sorted(values)[len(values) // 2]
