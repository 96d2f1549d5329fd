"""Process pieces of work in parallel on a CPU, with one core each. With enough pieces, this is
faster than using all cores for one piece after another, as cores do not wait for each other."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
from threadpoolctl import threadpool_limits

Piece = TypeVar("Piece")


@dataclass(frozen=True)
class Cores:
    """The number of pieces processed at a time, and their threads."""

    number: int
    pool: ThreadPoolExecutor | None

    def map(self, function: Callable[[Piece], None], pieces: Iterable[Piece]) -> None:
        """Call `function` with each piece, and wait for all calls."""
        for _ in map(function, pieces) if self.pool is None else self.pool.map(function, pieces):
            continue


@contextmanager
def core_each(device: torch.device) -> Iterator[Cores]:
    """On the CPU, use as many cores as torch has threads, each with single-threaded numpy and
    torch; on a GPU, process one piece after another."""
    threads = torch.get_num_threads()
    if device.type != "cpu" or threads == 1:
        yield Cores(1, None)
        return
    with (
        threadpool_limits(1, user_api="blas"),
        ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool,
    ):
        try:
            yield Cores(threads, pool)
        finally:
            torch.set_num_threads(threads)  # new threads inherit the last value set in any thread
