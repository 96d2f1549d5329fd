"""Stopping when the terminal or the scheduler asks for it: between two steps, with a checkpoint."""

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
# Ctrl-C; `kill`, and the end of a job's time; a closed terminal; SLURM's --signal=USR1.
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


class Stop:
    """Within `with`, a signal to end is noted, so that the step that is being taken can be finished
    and saved; `end` then ends as the signal would have done.

    The state of a training is whole only between two steps. A process that trains alone also stops
    while it waits for clips, when nothing has changed yet, and wherever it is on a second Ctrl-C.
    """

    def __init__(self, alone: bool) -> None:
        self._alone = alone
        self._is_waiting = False
        self._signal: int | None = None
        self._before: dict[int, Any] = {}

    def ask(self, device: torch.device) -> Callable[[], bool]:
        """Before a step: a function to be called after it, which says whether to stop. All ranks
        hear the same, so that none waits for one that has stopped."""
        if self._alone:
            return lambda: self._signal is not None
        is_asked = torch.full((), float(self._signal is not None), device=device)
        count = EarlyNumber(sum_over_ranks(is_asked))
        return lambda: count.read() > 0

    def next_of(self, items: Iterator[Item]) -> Item | None:
        """The next item; None if a signal came while it was waited for."""
        try:
            self._is_waiting = self._alone
            return None if self._alone and self._signal is not None else next(items)
        except KeyboardInterrupt:
            return None
        finally:
            self._is_waiting = False

    def end(self) -> None:
        """Do what the signal would have done; KeyboardInterrupt if another rank got it, or if that
        would have been the end without a word."""
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
        if threading.current_thread() is threading.main_thread():  # no other may set handlers
            for number in _SIGNALS:
                if signal.getsignal(number) != signal.SIG_IGN:  # as nohup has it
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
