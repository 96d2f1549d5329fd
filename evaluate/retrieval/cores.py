"""Work on a CPU side by side, each piece on one core: where there are pieces enough, that is faster
than all cores on one piece after the other, for no core waits for another within a piece."""

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
    """How many pieces are worked on at a time; `map` calls a function with each and waits."""

    number: int
    pool: ThreadPoolExecutor | None

    def map(self, function: Callable[[Piece], None], pieces: Iterable[Piece]) -> None:
        for _ in map(function, pieces) if self.pool is None else self.pool.map(function, pieces):
            continue


@contextmanager
def core_each(device: torch.device) -> Iterator[Cores]:
    """On the CPU as many cores as torch has threads, on which numpy and torch compute with one
    thread each; on a GPU one piece after the other."""
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
            torch.set_num_threads(threads)  # threads begin with what was set last, anywhere
