"""Measure a loader in a process of its own: speed and peak memory."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch

START = 8  # batches to skip, until worker processes run and buffers are full
_INTERVAL = 0.2  # seconds between two measurements of memory


@dataclass(frozen=True)
class Loaded:
    """The measurements of a process.

    Attributes:
        clips: number of loaded clips
        seconds: that loading took
        memory: peak memory of the process and its children in bytes
    """

    clips: int
    seconds: float
    memory: int


def work(batches: Iterator[Sequence[torch.Tensor]], what: str) -> None:
    """Run in the process. If `what` ends with .pt, save the first batch (clips, videos, frames) to
    that file; else it is a number of seconds: load for so long, and print the measurements."""
    if what.endswith(".pt"):
        torch.save(tuple(next(batches)), what)
        return
    for _ in islice(batches, START):
        pass
    clips, began, seconds = 0, time.perf_counter(), 0.0
    while seconds < float(what):
        clips += len(next(batches)[0])
        seconds = time.perf_counter() - began
    print(json.dumps({"clips": clips, "seconds": seconds}))


def run(command: Sequence[str], seconds: float) -> Loaded:
    """Start the command, with `seconds` as last argument (`what` of `work`), and measure it."""
    with subprocess.Popen([*command, str(seconds)], stdout=subprocess.PIPE, text=True) as process:
        memory, printed = 0, None
        while printed is None:
            try:
                printed, _ = process.communicate(timeout=_INTERVAL)
            except subprocess.TimeoutExpired:
                memory = max(memory, memory_of(process.pid))
    if process.returncode:
        sys.exit(f"{' '.join(process.args)} ended with {process.returncode}.")
    return Loaded(**json.loads(printed.splitlines()[-1]), memory=memory)


def memory_of(process: int) -> int:
    """Anonymous and shared memory of a process and its descendants in bytes, counting each page
    once. Mapped files, such as libraries, do not count, as other processes may share them. 0 on
    systems other than Linux."""
    return sum(map(_own_memory, _tree(process)))


def _tree(root: int) -> list[int]:
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # the process has ended
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    tree = [root]
    for parent in tree:
        tree += [child for child, of in parents.items() if of == parent]
    return tree


def _own_memory(process: int) -> int:
    with suppress(OSError):
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
        parts = [line.split() for line in lines]
        return 1024 * sum(int(part[1]) for part in parts if part[0] in ("Pss_Anon:", "Pss_Shmem:"))
    return 0
