"""Prefetch a generator in a background thread."""

from collections.abc import Callable, Generator
from contextlib import closing, suppress
from queue import Full, Queue
from threading import Event, Thread
from typing import Any

from trainer.data.streaming.transport import Stopped

_TURN = 0.1  # seconds between two checks for a stop while the queue is full


class ReadAhead:
    """Runs a generator in a background thread, at most `ahead` items ahead of the consumer. The
    generator is given an event and should raise Stopped soon after it is set."""

    def __init__(self, items: Callable[[Event], Generator[Any, None, None]], ahead: int) -> None:
        self._items, self._stop = items, Event()
        self._queue: Queue[Any] = Queue(ahead)
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    def get(self) -> Any:
        """The next item. Raises what the generator raised. Must not be called more often than the
        generator yields: it would wait for ever."""
        item = self._queue.get()
        if isinstance(item, BaseException):
            raise item
        return item

    def has_one(self) -> bool:
        """Whether `get` would return without waiting."""
        return not self._queue.empty()

    def stop(self) -> None:
        """Tell the thread to end, without waiting for it."""
        self._stop.set()

    def join(self) -> None:
        """Wait until the thread has ended."""
        self._thread.join()

    def _run(self) -> None:
        with suppress(Stopped):
            try:
                with closing(self._items(self._stop)) as items:
                    for item in items:
                        self._put(item)
            except Stopped:
                raise
            except BaseException as error:
                self._put(error)

    def _put(self, item: Any) -> None:
        while not self._stop.is_set():
            with suppress(Full):
                self._queue.put(item, timeout=_TURN)
                return
        raise Stopped
