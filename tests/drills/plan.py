"""All drills, each of which can be repeated alone: its random numbers depend on nothing else."""

import random
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from tests.drills import disks, downloads, flat, interrupts, limits, servers
from tests.drills.disturb import Expected, drill, stopped, undisturbed
from tests.drills.jobs import Job, jobs_of, newest_job
from tests.drills.outcome import Outcome
from tests.drills.scene import Scene


@dataclass(frozen=True)
class Drill:
    """A drill of a command.

    Attributes:
        name: what disturbs it, and the command: "killed: build"
        run: runs it with a source of random numbers
    """

    name: str
    run: Callable[[random.Random], Outcome]


def rng_of(seed: int, name: str) -> random.Random:
    """The random numbers of a drill of a command."""
    return random.Random(f"{seed}/{name.replace(': ', '/')}")


def drills_of(scene: Scene, root: Path, tries: int, steps: int) -> Iterator[Drill]:
    """All drills. They run in folders below `root`."""
    few = max(1, tries // 4)
    for job in jobs_of(scene):
        yield from _of_job(scene, job, root / job.name.replace(" ", "-"), tries, few)
    yield Drill("killed: fetch", lambda rng: downloads.killed_fetch(root / "fetch", rng, tries))
    yield _of_the_newest(scene, root / "newest", few)
    streamed = max(1, steps // 5)
    yield Drill(f"{steps} steps: train", lambda rng: flat.from_folder(scene, root / "flat", steps))
    yield Drill(
        f"{streamed} steps: train over HTTP",
        lambda rng: flat.from_server(scene, root / "flat", streamed),
    )


def _of_the_newest(scene: Scene, place: Path, few: int) -> Drill:
    """The clock, for a job that takes the newest run and the newest store."""
    job = newest_job(scene)

    def run(rng: random.Random) -> Outcome:
        expected = undisturbed(job, place / "undisturbed")
        return limits.clock_set_back(scene, job, expected, place / "x", rng, few)

    return Drill(f"clock: {job.name}", run)


def _of_job(scene: Scene, job: Job, place: Path, tries: int, few: int) -> Iterator[Drill]:
    folder = place / "x"

    @cache
    def expected() -> Expected:
        return undisturbed(job, place / "undisturbed")

    def signalled(name: str, number: signal.Signals) -> Drill:
        def run(rng: random.Random) -> Outcome:
            disturb = partial(stopped, job, expected(), folder, rng, number)
            return drill(name, job, expected(), folder, tries, disturb)

        return Drill(f"{name}: {job.name}", run)

    def of(name: str, run: Callable[[random.Random], Outcome]) -> Drill:
        return Drill(f"{name}: {job.name}", run)

    yield signalled("killed", signal.SIGKILL)
    yield signalled("SIGTERM", signal.SIGTERM)
    yield of("Ctrl-C", lambda rng: interrupts.interrupted(job, expected(), folder, rng, tries))
    yield of("clock", lambda rng: limits.clock_set_back(scene, job, expected(), folder, rng, few))
    yield of("two at once", lambda rng: limits.two_at_once(job, expected(), folder, rng, few))
    yield of("few file handles", lambda rng: limits.few_handles(job, expected(), folder))
    yield of(
        "disk full",
        lambda rng: disks.full_disk(job, expected(), place / "full", rng, few),
    )
    yield of("read-only disk", lambda rng: disks.read_only(job, expected(), place / "read-only"))
    yield of("exFAT", lambda rng: disks.without_links_and_locks(job, expected(), place / "exfat"))
    yield of("/dev/shm", lambda rng: disks.small_shared_memory(job, expected(), folder))
    if job.name.startswith("train"):
        yield of(
            "damaged shard",
            lambda rng: servers.damaged_shard(scene, job, expected(), folder, rng, few),
        )
    if job.name == "train, streamed":
        yield of(
            "bad HTTP",
            lambda rng: servers.slow_and_broken(scene, job, expected(), folder, rng, few),
        )
