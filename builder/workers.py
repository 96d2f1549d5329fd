"""Run the work of a build in threads or processes of this machine."""

from collections.abc import Callable, Generator, Iterable
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def run_local(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    workers: int,
    pool_type: Callable[[int], Executor] = ThreadPoolExecutor,
    stop: Callable[[], None] = lambda: None,
) -> Generator[Result, None, None]:
    """Apply `function` to every item, `workers` at a time; yield results as they are ready.

    Items are started in order, and are taken from `items` only shortly before. Threads are enough
    for transcoding: each waits for a decoder process, hashing and writing release the GIL, and the
    frames need not be copied between processes. If the generator ends early, by an error or because
    it is closed, `stop` is called, which should end the running work.
    """
    with pool_type(workers) as pool:
        waiting: set[Future[Result]] = set()
        try:
            for item in items:
                waiting.add(pool.submit(function, item))
                if len(waiting) >= 2 * workers:  # so that no worker idles meanwhile
                    done, waiting = _wait(waiting)
                    yield from (future.result() for future in done)
            while waiting:
                done, waiting = _wait(waiting)
                yield from (future.result() for future in done)
        except BaseException:
            for future in waiting:
                future.cancel()
            stop()
            raise


def _wait(
    waiting: set[Future[Result]], seconds: float = 0.2
) -> tuple[set[Future[Result]], set[Future[Result]]]:
    """Wait until some futures are done; return these and the others. Wakes up every `seconds`, as
    Python handles signals between two bytecodes of the main thread: one that arrives just before
    the wait would otherwise be delayed by as long as a video takes."""
    done: set[Future[Result]] = set()
    while not done:
        done, waiting = wait(waiting, seconds, return_when=FIRST_COMPLETED)
    return done, waiting
