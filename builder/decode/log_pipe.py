"""Read a process's log from a pipe, keeping its beginning and its end."""

import fcntl
import os
from contextlib import suppress

from builder.video_limits import LOG_BYTES

_PIPE_BYTES = 1 << 18  # bytes that the process can write before it blocks


class LogPipe:
    """The read end of a log's pipe. However long the log is, only its first and its last LOG_BYTES
    are kept."""

    def __init__(self, read_end: int) -> None:
        self._pipe = read_end
        self._head, self._tail = bytearray(), bytearray()
        with suppress(OSError):  # only a matter of speed
            fcntl.fcntl(read_end, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)

    def take(self) -> None:
        """Read what is in the pipe, without blocking."""
        os.set_blocking(self._pipe, False)
        with suppress(BlockingIOError):
            self._read()

    def take_all(self) -> bytes:
        """Read to the end of the log; return its first LOG_BYTES and its last LOG_BYTES."""
        os.set_blocking(self._pipe, True)
        self._read()
        return bytes(self._head + b"\n" + self._tail if self._tail else self._head)

    def _read(self) -> None:
        while chunk := os.read(self._pipe, _PIPE_BYTES):
            room = LOG_BYTES - len(self._head)
            self._head += chunk[:room]
            self._tail += chunk[room:]
            del self._tail[:-LOG_BYTES]
