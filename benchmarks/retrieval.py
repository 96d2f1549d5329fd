"""Compare our top-50 retrieval with faiss's exact index, on random features and the same cores.

    python -m benchmarks.run_all retrieval      (GALLERY=240000 QUERIES=20000 CHANNELS=512 ROUNDS=5)

Every round of either runs in a process of its own, which makes the features, finds the neighbours,
and reports the time and its peak memory, features included. faiss's time includes scaling the
features to unit length, `add` and `search`; ours includes scaling, too.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from benchmarks.side_by_side import Measured, alternate, rate, ratio
from builder.cores import usable_cores
from evaluate.retrieval.nearest import nearest

GOAL_TIME = 1.1  # relative to faiss's
GOAL_MEMORY = 3.0  # GiB
NEIGHBOURS = 50
CORES = usable_cores()


@dataclass(frozen=True)
class Size:
    gallery: int
    queries: int
    channels: int

    @classmethod
    def of_environment(cls) -> "Size":
        names = ("GALLERY", "QUERIES", "CHANNELS")
        usual = ("240000", "20000", "512")
        values = (int(os.environ.get(n, d)) for n, d in zip(names, usual, strict=True))
        return cls(*values)


@dataclass(frozen=True)
class Round:
    """The result of a process."""

    seconds: float
    memory: float  # peak, GiB
    positions: np.ndarray  # of the neighbours, int64, queries x NEIGHBOURS


def by_ours(gallery: np.ndarray, queries: np.ndarray) -> np.ndarray:
    torch.set_num_threads(CORES)
    return nearest(gallery, queries, NEIGHBOURS).positions


def by_faiss(gallery: np.ndarray, queries: np.ndarray) -> np.ndarray:
    import faiss

    faiss.omp_set_num_threads(CORES)
    faiss.normalize_L2(gallery)
    faiss.normalize_L2(queries)
    index = faiss.IndexFlatIP(gallery.shape[1])
    index.add(gallery)
    return index.search(queries, NEIGHBOURS)[1]


WAYS = {"ours": by_ours, "faiss": by_faiss}


def work(way: str, size: Size, out: Path) -> None:
    """Run in a process of its own: save the positions to `out`, and print the rest."""
    rng = np.random.default_rng(0)
    gallery = rng.standard_normal((size.gallery, size.channels), dtype=np.float32)
    queries = rng.standard_normal((size.queries, size.channels), dtype=np.float32)
    began = time.perf_counter()
    positions = WAYS[way](gallery, queries)
    seconds = time.perf_counter() - began
    np.save(out, positions)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps({"seconds": seconds, "memory": memory}))


def run(way: str, size: Size) -> Round:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "positions.npy"
        sizes = [str(x) for x in (size.gallery, size.queries, size.channels)]
        command = [sys.executable, "-m", "benchmarks.retrieval", way, str(out), *sizes]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        return Round(**json.loads(done.stdout), positions=np.load(out))


def bench_retrieval(rounds: int) -> None:
    if find_spec("faiss") is None:
        print("Retrieval is not measured: faiss is missing (pip install faiss-cpu).")
        return
    size = Size.of_environment()
    results: dict[str, list[Round]] = {way: [] for way in WAYS}

    def way_of(name: str) -> Measured:
        one = run(name, size)
        results[name].append(one)
        return Measured(one.seconds, 0.0, size.queries)

    runs = alternate({name: lambda name=name: way_of(name) for name in WAYS}, rounds)
    print(
        f"Nearest {NEIGHBOURS} of {size.queries} queries in {size.gallery} rows of "
        f"{size.channels} channels, {CORES} cores ({rounds} rounds, medians)"
    )
    for name, measured in runs.items():
        seconds = statistics.median(one.seconds for one in measured)
        memory = max(one.memory for one in results[name])
        speed = rate(measured)
        print(
            f"  {name:<6} {seconds:7.1f} s  {speed.median:7.0f} queries/s ({speed.low:.0f} .. "
            f"{speed.high:.0f})  {memory:.2f} GiB at most"
        )
    slower = ratio(runs["faiss"], runs["ours"])
    print(
        f"  ours takes x {slower.median:.2f} ({slower.low:.2f} .. {slower.high:.2f}) the time of "
        f"faiss; goals: x {GOAL_TIME} and {GOAL_MEMORY} GiB at most"
    )
    same = (results["ours"][0].positions == results["faiss"][0].positions).mean()
    print(f"  {same:.4%} of the positions are the same (faiss's order is that of float32 sums)")


if __name__ == "__main__":
    work(sys.argv[1], Size(*map(int, sys.argv[3:6])), Path(sys.argv[2]))
