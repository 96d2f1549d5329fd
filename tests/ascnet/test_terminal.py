"""What is printed when nobody can read it."""

import errno
import os
from pathlib import Path

import pytest

from ascnet.terminal import _Shown


class Refusing:
    """A stream whose system refuses every write."""

    def __init__(self, path: Path, number: int) -> None:
        self._file, self._number = path.open("w"), number

    def fileno(self) -> int:
        return self._file.fileno()

    def write(self, text: str) -> int:
        raise OSError(self._number, os.strerror(self._number))

    def flush(self) -> None:
        self._file.flush()


@pytest.mark.parametrize("number", [errno.EPIPE, errno.EIO])
def test_work_goes_on_if_the_terminal_or_the_reader_is_gone(number):
    stream = Refusing(Path("/dev/null"), number)
    assert _Shown(stream).write("text") == 4


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_a_log_file_that_cannot_be_written_is_an_error(number, tmp_path):
    with pytest.raises(OSError, match=os.strerror(number)):
        _Shown(Refusing(tmp_path / "log", number)).write("text")
