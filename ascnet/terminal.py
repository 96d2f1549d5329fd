"""Protect the terminal: no name in a file, archive or server's answer may control it."""

import errno
import os
import re
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

# Control characters except tab and line feed; changes of text direction; unusual line separators;
# lone surrogates, which names that are not UTF-8 contain; and invisible characters, with which two
# names could look the same (except joiners, which Persian and emoji need).
_STEERING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff"
    "\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)


def shown(text: str) -> str:
    """`text` with every character that steers a terminal as its escape, such as \\x1b."""
    return _STEERING.sub(lambda found: ascii(found[0])[1:-1], text)


class _Shown:
    """A text stream that writes text through `shown`. Work goes on if its reader is gone, such as
    `| head`, or its terminal; then further text is dropped."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with self._without_reader():
            self._stream.write(shown(text))
        return len(text)

    def flush(self) -> None:
        with self._without_reader():
            self._stream.flush()

    @contextmanager
    def _without_reader(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.EIO) or _is_file(self._stream):
                raise
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self._stream.fileno())
            os.close(null)

    def writelines(self, lines: list[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _is_file(stream: TextIO) -> bool:
    return stat.S_ISREG(os.fstat(stream.fileno()).st_mode)


def steered(stream: TextIO) -> TextIO:
    """The underlying terminal, for a progress bar, which returns to the start of its line."""
    return stream._stream if isinstance(stream, _Shown) else stream


@contextmanager
def safe_streams() -> Iterator[None]:
    """Within `with`, print everything through `shown`: our output, click's, and libraries'
    warnings."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _Shown(before[0]), _Shown(before[1])
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
