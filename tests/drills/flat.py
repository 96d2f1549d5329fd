"""Drills of long trainings: memory and the number of open files stay as they are."""

import json
import os
import resource
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import linear_regression

from tests.drills.outcome import Outcome
from tests.drills.scene import SETTINGS, Scene, begin, said_by, silent_failure
from tests.processes import Running
from tests.trainer.data.streaming.test_retrying import serve

_A_STEP = 1024  # bytes by which memory may grow
_SWINGS = 4 << 20  # bytes by which the memory of a long training goes up and down
_EVERY = 0.05  # seconds
_TAIL = 4096  # bytes at the end of a log, more than a line


@dataclass(frozen=True)
class Sample:
    """A process at a moment. `memory` is in bytes."""

    step: int
    memory: int
    files: int


@dataclass(frozen=True)
class Allowed:
    """What is no growth: this many open files more, and swings of memory of this many bytes. A
    short training needs more of both: it has hardly filled its caches when it ends, and few
    samples catch a file that is open for a moment."""

    files: int = 0
    swings: int = _SWINGS


NOTHING = Allowed()
_ONE = Allowed(files=1)


def from_folder(scene: Scene, folder: Path, steps: int, allowed: Allowed = NOTHING) -> Outcome:
    """A long training on shards in a folder: no file more may be open at its end."""
    return _measured(f"{steps} steps: train", str(scene.shards), folder, steps, allowed)


def from_server(scene: Scene, folder: Path, steps: int, allowed: Allowed = _ONE) -> Outcome:
    """A long training on streamed shards. Their connections open and close at any moment, so a
    sample may catch one more than those before."""
    with serve(scene.shards) as server:
        return _measured(f"{steps} steps: train over HTTP", server.url, folder, steps, allowed)


def _measured(name: str, source: str, folder: Path, steps: int, allowed: Allowed) -> Outcome:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    changes = (f"optim.steps={steps}", "checkpoint_every=100")
    more = [word for change in changes for word in ("--set", change)]
    process = begin("train", source, *SETTINGS, *more, "--run", "run", cwd=folder)
    seen = _watch(process, folder / "run" / "log.jsonl")
    done = process.end(600)
    if done.returncode:
        return Outcome(name, 1, 1, int(bool(silent_failure(done))), said_by(done))
    return judge(name, seen, steps, allowed)


def judge(name: str, seen: Sequence[Sample], steps: int, allowed: Allowed) -> Outcome:
    """Whether memory grew over the last four fifths of the steps, or the largest number of open
    files from the second fifth to the last."""
    later = [sample for sample in seen if sample.step >= steps / 5]
    second = [sample.files for sample in later if sample.step < 2 * steps / 5]
    last = [sample.files for sample in later if sample.step >= 4 * steps / 5]
    if not (second and last):
        return Outcome(name, 0, 0, 1, f"too fast: seen {len(later)} times")
    a_step = linear_regression([s.step for s in later], [s.memory for s in later]).slope
    more = max(last) - max(second)
    grows = a_step > _A_STEP and a_step * steps * 4 / 5 > allowed.swings
    note = (
        f"memory {later[-1].memory / 2**20:.0f} MiB, {a_step:+.0f} bytes a step; open files "
        f"{max(last)}, {more:+d} since the second fifth; seen {len(later)} times"
    )
    return Outcome(name, 1, 0, int(grows or more > allowed.files), note)


def _watch(process: Running, log: Path) -> list[Sample]:
    """Samples of a training until it ends."""
    seen = []
    while process.runs():
        time.sleep(_EVERY)
        try:
            files = len(list(Path(f"/proc/{process.pid}/fd").iterdir()))
            if memory := _resident(process.pid):  # none is left when it has ended
                seen.append(Sample(_last_step(log), memory, files))
        except (OSError, IndexError, ValueError):
            continue  # not begun yet, or just ended
    return seen


def _last_step(log: Path) -> int:
    with log.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
        return int(json.loads(file.read().splitlines()[-1])["step"])


def _resident(pid: int) -> int:
    """Resident memory of a process in bytes."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize()
