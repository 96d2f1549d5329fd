"""Measure several ways of doing the same, in turn in one run: medians, ratios round by round."""

import os
import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Measured:
    """One run of one way."""

    seconds: float
    cpu_seconds: float  # of this process and its children that have ended
    count: int


def measure(work: Callable[[], int]) -> Measured:
    cpu, began = _cpu_seconds(), time.perf_counter()
    count = work()
    return Measured(time.perf_counter() - began, _cpu_seconds() - cpu, count)


def _cpu_seconds() -> float:
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def side_by_side(
    title: str, unit: str, ways: dict[str, Callable[[], int]], rounds: int
) -> dict[str, list[Measured]]:
    """Run the ways in turn; print the median rate of each, its ratio to the last one (above 1 is
    faster), and its CPU seconds."""
    for work in ways.values():
        work()  # warm-up
    runs: dict[str, list[Measured]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, work in ways.items():
            runs[name].append(measure(work))
    base = runs[list(ways)[-1]]
    print(f"{title} ({rounds} rounds, medians; x: times as fast as the last)")
    for name, own in runs.items():
        rates = [run.count / run.seconds for run in own]
        ratio = statistics.median(b.seconds / a.seconds for a, b in zip(own, base, strict=True))
        cpu = statistics.median(run.cpu_seconds for run in own)
        print(
            f"  {name:<58} {statistics.median(rates):7.1f} {unit} "
            f"({min(rates):.1f} .. {max(rates):.1f})  x {ratio:5.2f}  {cpu:6.1f} CPU s"
        )
    return runs


def on_one_core(work: Callable[[], int]) -> int:
    """Do the work, its child processes included, on one core."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        return work()
    finally:
        os.sched_setaffinity(0, cores)
