"""What a process says of its work, taken from a pipe: the beginning and the end."""

import fcntl
import os
from contextlib import suppress

from builder.video_limits import LOG_BYTES

_PIPE_BYTES = 1 << 18  # what the process can say before it has to wait for us


class LogPipe:
    """The end of a pipe from which a log is read. However long the log is, this keeps as much of
    its beginning and of its end as `read_log` returns."""

    def __init__(self, read_end: int) -> None:
        self._pipe = read_end
        self._head, self._tail = bytearray(), bytearray()
        with suppress(OSError):  # only a matter of speed
            fcntl.fcntl(read_end, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)

    def take(self) -> None:
        """Take what is in the pipe, without waiting for more."""
        os.set_blocking(self._pipe, False)
        with suppress(BlockingIOError):
            self._read()

    def take_all(self) -> bytes:
        """Wait for the end of the log; the first LOG_BYTES, and of what follows the last."""
        os.set_blocking(self._pipe, True)
        self._read()
        return bytes(self._head + b"\n" + self._tail if self._tail else self._head)

    def _read(self) -> None:
        while chunk := os.read(self._pipe, _PIPE_BYTES):
            room = LOG_BYTES - len(self._head)
            self._head += chunk[:room]
            self._tail += chunk[room:]
            del self._tail[:-LOG_BYTES]
