"""Measure several ways to do the same, alternating in one run: medians, and ratios per round."""

import os
import resource
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class Measured:
    """One run of one way."""

    seconds: float
    cpu_seconds: float  # of this process and its children that have ended
    count: int  # of items processed

    @property
    def rate(self) -> float:
        return self.count / self.seconds


Runs = Sequence[Measured]  # of one way, round by round
Way = Callable[[], int | Measured]  # returns its count, or, if it times itself, all


def measure(work: Way) -> Measured:
    cpu, began = _cpu_seconds(), time.perf_counter()
    done = work()
    if isinstance(done, Measured):
        return done
    return Measured(time.perf_counter() - began, _cpu_seconds() - cpu, done)


def _cpu_seconds() -> float:
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def alternate(ways: Mapping[str, Way], rounds: int) -> dict[str, Runs]:
    """Run the ways in turn, `rounds` times; return the measurements of each way's rounds."""
    runs: dict[str, list[Measured]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, work in ways.items():
            runs[name].append(measure(work))
    return dict(runs)


@dataclass(frozen=True)
class Spread:
    """Median and range of a quantity that was measured in several rounds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        return cls(statistics.median(values), min(values), max(values))


def rate(runs: Runs) -> Spread:
    return Spread.of([run.rate for run in runs])


def ratio(measured: Runs, base: Runs) -> Spread:
    """Speed relative to `base`, computed per round, in which the two ran one after the other."""
    return Spread.of([a.rate / b.rate for a, b in zip(measured, base, strict=True)])


def side_by_side(
    title: str, unit: str, ways: Mapping[str, Callable[[], int]], rounds: int
) -> dict[str, Runs]:
    """Run the ways in turn; print the median rate of each, its ratio to the last one (above 1 is
    faster), and its CPU seconds."""
    for work in ways.values():
        work()  # warm-up
    runs = alternate(ways, rounds)
    base = runs[list(ways)[-1]]
    print(f"{title} ({rounds} rounds, medians; x: times as fast as the last)")
    for name, measured in runs.items():
        cpu = statistics.median(run.cpu_seconds for run in measured)
        r, x = rate(measured), ratio(measured, base).median
        print(
            f"  {name:<58} {r.median:7.1f} {unit} ({r.low:.1f} .. {r.high:.1f})  x {x:5.2f}  "
            f"{cpu:6.1f} CPU s"
        )
    return runs


@contextmanager
def cores(count: int) -> Iterator[None]:
    """Restrict this thread, and threads and processes started in the block, to `count` cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[:count])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def on_one_core(work: Callable[[], int]) -> int:
    """Do the work, including its child processes, on one core."""
    with cores(1):
        return work()
