"""Where the work of a build runs: threads or processes of this machine."""

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
    """`function` of every item, `workers` at a time; begun in order, given out as they are ready.

    Threads are enough for transcoding: each one waits for a process of its own, hashing and writing
    release the interpreter lock, and the frames need not be copied between processes. Items are
    taken only shortly before they are begun. When it ends early, by an error or because nobody
    wants more, `stop` is called, which should end what runs.
    """
    with pool_type(workers) as pool:
        waiting: set[Future[Result]] = set()
        try:
            for item in items:
                waiting.add(pool.submit(function, item))
                if len(waiting) >= 2 * workers:  # so that none of them idles while we go round
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
    """What is done, and what is not, once some are. Looks up now and then: Python acts on a signal
    between two steps of the main thread, so one that comes as it begins to wait would have to
    wait as well, as long as a video takes."""
    done: set[Future[Result]] = set()
    while not done:
        done, waiting = wait(waiting, seconds, return_when=FIRST_COMPLETED)
    return done, waiting
