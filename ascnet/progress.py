"""Progress of long work: a bar on a terminal, plain lines in a log."""

import os
import sys
import time
from contextlib import suppress
from types import TracebackType

from tqdm import tqdm

from ascnet.terminal import shown, steered

_SECONDS, _WITHOUT_TEXT = 10.0, 60.0  # between lines in a log, with and without text
_COLUMNS = 80  # width of a terminal that does not report it


class ProgressBar:
    """A progress callback, called with (done, total, text). Rate and time left are measured from
    the first call, so work done before a run was resumed does not count."""

    def __init__(self, title: str, unit: str) -> None:
        self._title, self._unit = title, unit
        self._bar: tqdm | None = None
        self._printed = time.monotonic()
        self._first, self._began = 0, self._printed
        self._last: int | None = None

    def __call__(self, done: int, total: int, text: str) -> None:
        if self._last is None or done < self._last:  # the first call, or a new pass
            self._first, self._began = done, time.monotonic()
            self._close_bar()
        self._last = done
        with suppress(OSError):  # work continues if the terminal or reader is gone
            if sys.stderr.isatty():
                self._draw(done, total, text)
            else:
                self._print(done, total, text)

    def _draw(self, done: int, total: int, text: str) -> None:
        if self._bar is None:
            self._bar = tqdm(
                total=total,
                initial=done,
                desc=self._title,
                unit=self._unit,
                dynamic_ncols=True,
                file=steered(sys.stderr),
            )
        if text:
            self._bar.bar_format = self._with_numbers(text, total)
        self._bar.update(done - self._bar.n)

    def _with_numbers(self, text: str, total: int) -> str:
        """The format of a line without a bar. If the numbers do not all fit the terminal, the last
        are left out."""
        longest = f"{self._title} {total}/{total} 00:00:00 left  "
        numbers = shown(_fitting(text, _columns() - len(longest) - 1))
        numbers = numbers.replace("{", "{{").replace("}", "}}")  # names may contain braces
        return "{desc} {n_fmt}/{total_fmt} {remaining} left  " + numbers

    def _print(self, done: int, total: int, text: str) -> None:
        now = time.monotonic()
        if done < total and now - self._printed < (_SECONDS if text else _WITHOUT_TEXT):
            return
        self._printed = now
        line = f"{self._title} {done}/{total} {self._unit}"
        if done > self._first:
            rate = (done - self._first) / (now - self._began)
            line += f", {_words(rate)}, {(total - done) / rate:.0f} s left"
        print(f"{line}  {text}" if text else line, file=sys.stderr, flush=True)

    def _close_bar(self) -> None:
        if self._bar is not None:
            with suppress(OSError):
                self._bar.close()
            self._bar = None

    def __enter__(self) -> "ProgressBar":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close_bar()


def _columns() -> int:
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or _COLUMNS
    except (OSError, ValueError):
        return _COLUMNS


def _fitting(text: str, columns: int) -> str:
    """As many of the numbers ("loss 1.2, std 50%") as fit, but at least the first."""
    first, *others = text.split(", ")
    for other in others:
        if len(first) + len(", ") + len(other) > columns:
            break
        first += f", {other}"
    return first


def _words(rate: float) -> str:
    """A rate (per second) as text."""
    return f"{rate:.1f} a second" if rate >= 0.1 else f"{60 * rate:.1f} a minute"
