"""Where the work of a build runs."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_AHEAD = 4  # videos a worker may be ahead of the shard writer; bounds memory


def run_local(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    workers: int,
    pool_type: Callable[[int], Executor] = ThreadPoolExecutor,
) -> Generator[Result, None, None]:
    """`function` of every item, in order, `workers` at a time.

    Threads are enough for transcoding: each one waits for an ffmpeg process of its own, hashing
    releases the interpreter lock, and the frames need not be copied between processes.
    """
    with pool_type(workers) as pool:
        waiting: deque[Future[Result]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) >= workers * _AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
