"""Collect libav's log in a PyAV worker: its first and last lines."""

import logging

_KEPT = 1000  # lines at either end, each of at most 1 KB


def add_line(lines: list[str], line: str) -> None:
    """Append a line; if there are very many, only the first and the last are kept."""
    lines.append(line)
    if len(lines) >= 3 * _KEPT:
        del lines[_KEPT : 2 * _KEPT]


class LibavLog(logging.Handler):
    """Context manager that collects libav's warnings and errors, which PyAV passes to `logging`."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []
        self.errors: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = str(record.msg)
        add_line(self.lines, text)
        if record.levelno >= logging.ERROR:
            add_line(self.errors, text)

    def __enter__(self) -> "LibavLog":
        logger = logging.getLogger("libav")
        logger.propagate = False
        logger.addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger("libav").removeHandler(self)
