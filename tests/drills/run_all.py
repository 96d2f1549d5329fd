"""`make drills`: disturb every long command, and count what is lost or wrong.

    python -m tests.drills.run_all [--tries 10] [--seed 0] [--steps 5000]

Prints a table with a row for each drill. Some drills need root: full and read-only disks, exFAT, a
small /dev/shm.
"""

import argparse
import random
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.drills import disks, interrupts, limits, servers
from tests.drills.disturb import drill, stopped, undisturbed
from tests.drills.jobs import jobs_of
from tests.drills.outcome import Outcome, table
from tests.drills.scene import set_up


def outcomes(root: Path, tries: int, seed: int, steps: int) -> Iterator[Outcome]:
    """Run all drills, one after the other, in a folder."""
    rng = random.Random(seed)
    scene = set_up(root / "scene")
    for job in jobs_of(scene):
        place = root / job.name.replace(" ", "-")
        folder = place / "x"
        expected = undisturbed(job, place / "undisturbed")
        for name, number in (("killed", signal.SIGKILL), ("SIGTERM", signal.SIGTERM)):

            def disturb(number: signal.Signals = number) -> None:
                stopped(job, expected, folder, rng, number)  # noqa: B023

            yield drill(name, job, expected, folder, tries, disturb)
        yield interrupts.interrupted(job, expected, folder, rng, tries)
        few = max(1, tries // 4)
        yield limits.clock_set_back(job, expected, folder, rng, few)
        yield limits.two_at_once(job, expected, folder, rng, few)
        yield limits.few_handles(job, expected, folder)
        yield disks.full_disk(job, expected, place / "full", fill=rng.randint(0, 200))
        yield disks.read_only(job, expected, place / "read-only")
        yield disks.without_links_and_locks(job, expected, place / "exfat")
        yield disks.small_shared_memory(job, expected, folder)
        if job.name.startswith("train"):
            yield servers.damaged_shard(scene, job, expected, folder, rng, few)
        if job.name == "train, streamed":
            yield servers.slow_and_broken(scene, job, folder, rng, few)
    yield servers.killed_fetch(root / "fetch", rng, tries)
    yield limits.flat(scene, root / "flat", steps)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--tries", type=int, default=10)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--steps", type=int, default=5000)
    given = options.parse_args()
    began, done = time.monotonic(), []
    with tempfile.TemporaryDirectory() as root:
        for outcome in outcomes(Path(root), given.tries, given.seed, given.steps):
            print(f"{time.monotonic() - began:6.0f} s  {outcome}", file=sys.stderr, flush=True)
            done.append(outcome)
    print(table(done))
    sys.exit(any(outcome.lost or outcome.wrong for outcome in done))


if __name__ == "__main__":
    main()
