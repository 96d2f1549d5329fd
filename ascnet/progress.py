"""Progress of long work: a bar on a terminal, plain lines in a log."""

import sys
import time
from types import TracebackType

from tqdm import tqdm

_SECONDS = 10.0  # between lines in a log


class Progress:
    """Called with (done, total, text). Rate and time left count from the first call, so that what a
    resumed run has behind it is no work of this one."""

    def __init__(self, title: str, unit: str) -> None:
        self._title, self._unit = title, unit
        self._bar: tqdm | None = None
        self._printed = time.monotonic()
        self._first, self._began = 0, self._printed
        self._last: int | None = None

    def __call__(self, done: int, total: int, text: str) -> None:
        if self._last is None or done < self._last:  # the first call, or another pass begins
            self._first, self._began = done, time.monotonic()
            self._close_bar()
        self._last = done
        if sys.stderr.isatty():
            self._draw(done, total, text)
        else:
            self._print(done, total, text)

    def _draw(self, done: int, total: int, text: str) -> None:
        if self._bar is None:
            self._bar = tqdm(
                total=total, initial=done, desc=self._title, unit=self._unit, dynamic_ncols=True
            )
        if text:
            self._bar.set_postfix_str(text, refresh=False)
        self._bar.update(done - self._bar.n)

    def _print(self, done: int, total: int, text: str) -> None:
        now = time.monotonic()
        if done < total and (now - self._printed < _SECONDS or not text):
            return
        self._printed = now
        line = f"{self._title} {done}/{total} {self._unit}"
        if done > self._first:
            rate = (done - self._first) / (now - self._began)
            line += f", {_words(rate)}, {(total - done) / rate:.0f} s left"
        print(f"{line}  {text}" if text else line, file=sys.stderr, flush=True)

    def _close_bar(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close_bar()


def _words(rate: float) -> str:
    """Of a rate a second."""
    return f"{rate:.1f} a second" if rate >= 0.1 else f"{60 * rate:.1f} a minute"
