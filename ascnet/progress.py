"""Progress of long work: a bar on a terminal, plain lines in a log."""

import sys
import time
from types import TracebackType

from tqdm import tqdm

_SECONDS = 10.0  # between lines in a log


class Progress:
    """Called with (done, total, text). Rate and time left count what was done since the start."""

    def __init__(self, title: str, unit: str) -> None:
        self._title, self._unit = title, unit
        self._bar: tqdm | None = None
        self._began = self._printed = time.monotonic()
        self._first: int | None = None

    def __call__(self, done: int, total: int, text: str) -> None:
        if sys.stderr.isatty():
            self._draw(done, total, text)
        else:
            self._print(done, total, text)

    def _draw(self, done: int, total: int, text: str) -> None:
        if self._bar is None:
            # What a resumed run has behind it is no work of this one.
            self._bar = tqdm(
                total=total,
                initial=max(done - 1, 0),
                desc=self._title,
                unit=self._unit,
                dynamic_ncols=True,
            )
        self._bar.update(done - self._bar.n)
        if text:
            self._bar.set_postfix_str(text, refresh=False)

    def _print(self, done: int, total: int, text: str) -> None:
        now = time.monotonic()
        if self._first is None:
            self._first = done - 1
        if now - self._printed < _SECONDS and done < total:
            return
        if done < total and not text:
            return
        self._printed = now
        rate = (done - self._first) / max(now - self._began, 1e-9)
        left = (total - done) / rate if rate else 0
        line = f"{self._title} {done}/{total} {self._unit}, {rate:.1f} a second, {left:.0f} s left"
        print(f"{line}  {text}" if text else line, file=sys.stderr, flush=True)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()
