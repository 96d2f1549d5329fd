"""What libav says in a PyAV worker: the first lines and the last."""

import logging

_KEPT = 1000  # lines at either end, of 1 KB at the most


def add_line(lines: list[str], line: str) -> None:
    """Add a line; of very many, the first and the last stay."""
    lines.append(line)
    if len(lines) >= 3 * _KEPT:
        del lines[_KEPT : 2 * _KEPT]


class LibavLog(logging.Handler):
    """Keeps libav's warnings and errors while it is in use (PyAV hands them to `logging`)."""

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
