"""A thread that makes what comes next while what came before is in use."""

from collections.abc import Callable, Generator
from contextlib import closing, suppress
from queue import Full, Queue
from threading import Event, Thread
from typing import Any

from trainer.data.streaming.transport import Stopped

_TURN = 0.1  # seconds after which the thread, waiting for room, looks up


class ReadAhead:
    """What a generator yields, made by a thread of its own, at most `ahead` before it is asked for.
    The generator is given an event: when it is set, it ought to raise Stopped soon."""

    def __init__(self, items: Callable[[Event], Generator[Any, None, None]], ahead: int) -> None:
        self._items, self._stop = items, Event()
        self._queue: Queue[Any] = Queue(ahead)
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    def get(self) -> Any:
        """The next one. Raises what the generator raised; to be called no more than it yields."""
        item = self._queue.get()
        if isinstance(item, BaseException):
            raise item
        return item

    def has_one(self) -> bool:
        """Whether `get` would not wait."""
        return not self._queue.empty()

    def stop(self) -> None:
        """Tell the thread to end."""
        self._stop.set()

    def join(self) -> None:
        """Wait until it has ended."""
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
