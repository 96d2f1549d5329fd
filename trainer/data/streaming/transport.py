"""Open the files of a data set for sequential reading: in a local folder, on a server
(`https://host/ucf101`, by curl), or by a command (`pipe:aws s3 cp s3://bucket/ucf101/{} -`)."""

import fcntl
import os
import re
import shlex
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from select import poll
from tempfile import TemporaryFile
from threading import Event
from typing import IO, Any
from urllib.parse import quote, urlsplit, urlunsplit

from webdataset.gopen import Pipe

from builder.printable import printable
from builder.regular_file import open_regular
from trainer.errors import TrainerError, TrainerUsageError

_PIPE, _HTTP = "pipe:", ("http://", "https://")
_PIPE_SIZE = 1 << 20  # bytes; with a smaller pipe buffer the reader wakes up too often
_TURN = 0.1  # seconds between two checks for a stop while waiting for bytes
# As webdataset's gopen calls curl (which retries temporary errors), but redirects may not lead from
# https to http, nor from any address to a file or FTP.
_CURL = ("curl", "--globoff", "--connect-timeout", "30", "--retry", "30", "--retry-delay", "2")
_SECRET = re.compile(r"(?<=://)[^/?#\s'\"]*@")  # user:password@ of a URL
# Exit statuses for which a retry is no use. Of curl: bad URL, certificate, or an HTTP status such
# as 404 (curl itself retries temporary ones). Of a shell: no such command.
_LASTING = {"curl": (1, 3, 22, 60), "the command": (126, 127)}


class Stopped(Exception):  # noqa: N818
    """Reading was cancelled by another thread; this is no error."""


class Broken(Exception):  # noqa: N818
    """A file could not be opened, or ended early. `lasts`: a retry would fail, too."""

    def __init__(self, why: str, lasts: bool = False) -> None:
        super().__init__(why)
        self.lasts = lasts


def is_remote(source: str) -> bool:
    """Whether a source is a URL or a command, not a folder."""
    return source.startswith(_PIPE) or "://" in source


def is_on_server(url: str) -> bool:
    """Whether a source is read by curl."""
    return url.startswith(_HTTP)


def url_of(source: str, name: str) -> str:
    """The URL, `pipe:COMMAND` or absolute path of the file `name` of a data set. Raises
    TrainerError if `source` is of an unknown kind."""
    if source.startswith(_PIPE):
        if "{}" not in source:
            raise TrainerUsageError(
                f"{shown(source)!r} does not say where the name of the file goes. Write {{}} "
                "there, as in 'pipe:aws s3 cp s3://bucket/ucf101/{} -'."
            )
        return source.replace("{}", shlex.quote(name))
    if is_on_server(source):
        try:
            parts = urlsplit(source)
        except ValueError as error:
            raise TrainerUsageError(
                f"{shown(source)!r} is no URL ({error}). Correct it."
            ) from error
        return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{quote(name)}"))
    if is_remote(source):
        raise TrainerUsageError(
            f"{shown(source)!r} is no place to read from. Name a folder, http://..., https://... "
            "or a command that writes a file to its output: 'pipe:aws s3 cp s3://bucket/ucf101/{} "
            "-'."
        )
    return path_of(Path(source), name)


def path_of(folder: Path, name: str) -> str:
    """The absolute path of a file, which cannot be mistaken for a URL or a command."""
    return str(folder.resolve() / name)


def without_password(source: str) -> str:
    """A source without passwords: of a URL, user and password before the host and the query after
    `?` are removed; in a command, only user and password of URLs."""
    if is_on_server(source):
        source = source.partition("?")[0]
    return _SECRET.sub("", source) if is_remote(source) else source


def shown(source: str) -> str:
    """A source for messages: without passwords and terminal control characters."""
    return printable(without_password(source))


class Opened:
    """An open file. `close` also ends the process that feeds it."""

    def __init__(self, url: str, stall: float, stop: Event) -> None:
        """`stall`: seconds without a byte after which reading raises Broken. `stop`: once it is
        set, reading soon raises Stopped. Raises Broken if the file cannot be opened, and
        TrainerError if curl is needed and missing."""
        self._stall, self._stop = stall, stop
        self._said: IO[bytes] | None = None
        if url.startswith(_PIPE):
            # As gopen does, but in a session of its own, so that all its processes can be killed,
            # and with its stderr kept for error messages.
            self._said = TemporaryFile()  # noqa: SIM115
            self._file = Pipe(
                url.removeprefix(_PIPE),
                mode="rb",
                shell=True,
                bufsize=0,
                stdin=subprocess.DEVNULL,
                stderr=self._said,
                start_new_session=True,
            )
        else:
            self._file = _by_curl(url) if is_on_server(url) else _local(url)
        self._child: subprocess.Popen[bytes] | None = getattr(self._file, "proc", None)
        self._raw = self._file.stream if self._child else self._file
        if self._child:
            os.set_blocking(self._raw.fileno(), False)
            with suppress(OSError):  # the system may allow less
                fcntl.fcntl(self._raw, fcntl.F_SETPIPE_SZ, _PIPE_SIZE)
            self._poll = poll()
            self._poll.register(self._raw)

    def readinto(self, view: memoryview) -> int:
        """Read into the beginning of `view`. Returns the number of bytes; 0 at the end, premature
        or not. Raises Broken or Stopped."""
        since = time.monotonic()
        while not self._stop.is_set():
            got: int | None = self._raw.readinto(view)
            if got is not None:
                return got
            if time.monotonic() - since > self._stall:
                raise Broken(f"nothing came for {self._stall:g} seconds")
            self._poll.poll(1000 * _TURN)
        raise Stopped

    def must_have_ended_well(self) -> None:
        """To be called at the end: raises Broken if the process that feeds the file failed."""
        if self._child is None:
            return
        with suppress(subprocess.TimeoutExpired):
            self._child.wait(10 * _TURN)
        program, message = "curl", ""
        if self._said:
            self._said.seek(0)
            program, message = "the command", _last_line(self._said.read())
        if status := self._child.poll():
            why = f" ({message})" if message else ""
            lasts = status in _LASTING[program]
            raise Broken(f"{program} ended with exit status {status}{why}", lasts)

    def close(self) -> None:
        """Close the file, and kill the process that feeds it."""
        if self._child and self._child.poll() is None:
            if self._said:
                with suppress(ProcessLookupError):
                    os.killpg(self._child.pid, signal.SIGKILL)
            self._child.kill()
        self._raw.close()
        if self._child:
            self._child.wait()
        if self._said:
            self._said.close()


def _by_curl(url: str) -> Any:
    try:
        return Pipe([*_CURL, *_followed(url), "-f", "-s", "-L", url], mode="rb", bufsize=0)
    except (FileNotFoundError, PermissionError) as error:
        raise no_curl(url) from error


def _local(path: str) -> Any:
    try:
        return open_regular(Path(path))
    except OSError as error:
        raise Broken(str(error.strerror), lasts=True) from error


def _followed(url: str) -> tuple[str, ...]:
    """curl's options for the protocols that it may use and follow redirects to."""
    kinds = "=https" if url.startswith("https:") else "=http,https"
    return ("--proto", "=http,https", "--proto-redir", kinds)


def no_curl(url: str) -> TrainerError:
    """The error for a URL on a machine without curl."""
    return TrainerError(
        f"{shown(url)} is read by curl, and there is none on this machine. Install it (apt-get "
        "install curl), or copy the data set here."
    )


_TIMED_OUT, _HTTP_ERROR = 28, 22  # exit statuses of curl
_BUSY = (408, 429)  # HTTP statuses between 400 and 499 that pass


def curl_says(url: str) -> str:
    """curl's error message for a URL; "" if it can be read, or if the server is only slow. (The
    curl that reads files runs with `-s`, which suppresses messages.)"""
    broken = probe(url)
    return "" if broken is None else str(broken)


def probe(url: str) -> Broken | None:
    """Ask for the first byte of a URL, once. Returns curl's error message, and whether a retry
    would fail, too: a bad URL or certificate, an HTTP status such as 404. None: it can be read, or
    the server is only slow."""
    command = ["curl", "--globoff", "-sSfL", *_followed(url), "-r", "0-0", "-o", os.devnull]
    command += ["-w", "%{http_code}", "--max-time", "10", url]
    try:
        ended = subprocess.run(command, capture_output=True, check=False)
    except FileNotFoundError as error:
        raise no_curl(url) from error
    # A server that sends the whole file in place of its first byte may take longer.
    if ended.returncode in (0, _TIMED_OUT):
        return None
    lasts = ended.returncode in _LASTING["curl"]
    if ended.returncode == _HTTP_ERROR:
        code = int(ended.stdout[-3:] or 0)
        lasts = 400 <= code < 500 and code not in _BUSY
    return Broken(_last_line(ended.stderr), lasts)


def _last_line(text: bytes) -> str:
    return text.decode("utf-8", "replace").strip().rpartition("\n")[2].strip()
