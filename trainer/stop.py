"""Stop training on a signal from terminal or scheduler: between two steps, with a checkpoint."""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType
from typing import Any, TypeVar

import torch

from trainer.distributed import sum_over_ranks
from trainer.method.guards import EarlyNumber

Item = TypeVar("Item")
# Ctrl-C; `kill`, or a job's time limit; a closed terminal; SLURM's --signal=USR1.
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


class Stop:
    """A context that records signals instead of stopping at once, so that the current step can be
    finished and saved; `end` then does what the signal would have done.

    The training state is consistent only between two steps. A single process also stops while it
    waits for clips, when nothing has changed yet, and anywhere on a second Ctrl-C.
    """

    def __init__(self, alone: bool) -> None:
        self._alone = alone
        self._is_waiting = False
        self._signal: int | None = None
        self._before: dict[int, Any] = {}

    def ask(self, device: torch.device) -> Callable[[], bool]:
        """To be called before a step. Returns a function to call after it, which says whether to
        stop. The answer is the same on all ranks, so that none waits for one that has stopped."""
        if self._alone:
            return lambda: self._signal is not None
        is_asked = torch.full((), float(self._signal is not None), device=device)
        count = EarlyNumber(sum_over_ranks(is_asked))
        return lambda: count.read() > 0

    def next_of(self, items: Iterator[Item]) -> Item | None:
        """The next item; None if a signal came before it."""
        try:
            self._is_waiting = self._alone
            return None if self._alone and self._signal is not None else next(items)
        except KeyboardInterrupt:
            return None
        finally:
            self._is_waiting = False

    def end(self) -> None:
        """Do what the signal would have done. Raises KeyboardInterrupt if another rank received it,
        or if its default action would end the process without a message."""
        number, before = self._signal, dict(self._before)
        self._restore()
        if number is not None and callable(before.get(number)):
            before[number](number, None)
        raise KeyboardInterrupt

    def _note(self, number: int, frame: FrameType | None) -> None:
        is_second = self._signal is not None
        self._signal = self._signal or number
        if self._is_waiting or (self._alone and is_second and number == signal.SIGINT):
            raise KeyboardInterrupt
        if self._alone and number == signal.SIGINT and sys.stderr is not None:
            print(
                "\nStopping after this step. Ctrl-C again stops at once, without a checkpoint.",
                file=sys.stderr,
                flush=True,
            )

    def __enter__(self) -> "Stop":
        if threading.current_thread() is threading.main_thread():  # others may not set handlers
            for number in _SIGNALS:
                if signal.getsignal(number) != signal.SIG_IGN:  # nohup ignores SIGHUP: keep that
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._restore()

    def _restore(self) -> None:
        while self._before:
            number, before = self._before.popitem()
            signal.signal(number, before)
