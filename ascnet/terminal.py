"""What reaches the terminal: no name in a file, an archive or a server's answer may steer it."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

# Control characters but tab and line ends; what turns the direction of writing; line ends that are
# none to most programs; halves of pairs, as a name that is no UTF-8 has them; and what nobody sees,
# so that two names would look the same (but for the joiners, which Persian and pictures need).
_STEERING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff"
    "\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)


def shown(text: str) -> str:
    """`text` with every character that steers a terminal as its escape, such as \\x1b."""
    return _STEERING.sub(lambda found: ascii(found[0])[1:-1], text)


class _Shown:
    """A text stream that writes what is `shown`."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.write(shown(text))
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def steered(stream: TextIO) -> TextIO:
    """The terminal below, for a progress bar, which goes back to the beginning of its line."""
    return stream._stream if isinstance(stream, _Shown) else stream


@contextmanager
def safe_streams() -> Iterator[None]:
    """Within `with`, all that is printed is `shown`: by us, by click, by a library's warning."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _Shown(before[0]), _Shown(before[1])
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
