"""Download one file over HTTP: resumed after any break, whole or not there."""

import errno
import json
import os
import re
import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from http.client import HTTPException, HTTPMessage, HTTPResponse
from pathlib import Path
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlsplit, urlunsplit
from urllib.request import HTTPRedirectHandler, HTTPSHandler, Request, build_opener

from builder.atomic import open_own, write_atomically
from builder.errors import BuilderError
from builder.printable import printable
from builder.progress import Progress, silent
from builder.regular_file import open_regular

_BLOCK = 1 << 20  # bytes
_SIZE = r"[0-9]{1,18}"  # bytes, as a server says them
_LARGEST_NOTE = 1 << 16  # bytes
_MEGABYTE = 1_000_000
_NOT_THERE = (errno.ECONNREFUSED, errno.ENETUNREACH, errno.EHOSTUNREACH)


@dataclass(frozen=True)
class DownloadSettings:
    """How patient a download is, and whom it trusts.

    Attributes:
        tries: in a row that bring nothing new
        pause: seconds before the second try, doubled before every further one
        timeout: seconds without an answer or without a byte
        insecure: take any TLS certificate
    """

    tries: int = 7
    pause: float = 1.0
    timeout: float = 60.0
    insecure: bool = False


@dataclass(frozen=True)
class Note:
    """What the server said of the file that a .part holds the beginning of.

    Attributes:
        validator: strong ETag or Last-Modified; None: a part cannot be gone on with
        total: bytes
    """

    url: str
    validator: str | None
    total: int | None

    @classmethod
    def read(cls, path: Path) -> "Note | None":
        try:
            with open_regular(path) as file:
                note = cls(**json.loads(file.read(_LARGEST_NOTE)))
        except (OSError, ValueError, TypeError, RecursionError):
            return None
        tag = note.validator
        is_fine = tag is None or (isinstance(tag, str) and tag.isascii() and tag.isprintable())
        return note if is_fine and type(note.total) in (int, type(None)) else None


@dataclass(frozen=True)
class Download:
    """A file on a server, and where it goes. It grows as NAME.part, and the file `note` says what
    the server said of it, so that a later download goes on, or starts anew if that changed.

    Attributes:
        otherwise: what the user can do instead: it ends messages
        limit: bytes; of a longer file nothing is kept
    """

    url: str
    path: Path
    note: Path
    otherwise: str
    limit: int | None = None

    @property
    def part(self) -> Path:
        return part_path(self.path)

    def must_be_within_limit(self, size: int | None) -> None:
        if self.limit is not None and size is not None and size > self.limit:
            raise BuilderError(
                f"{self.url} has more than {megabytes(self.limit)} MB, and the official file has "
                f"less: {self.otherwise}."
            )


def part_path(path: Path) -> Path:
    """Where the bytes of a file lie until all of them are there."""
    return path.with_name(path.name + ".part")


def ask_size(url: str, settings: DownloadSettings, otherwise: str) -> int | None:
    """Bytes of the file at `url`, None if its server does not say.

    Raises BuilderError if there is no way to the server, at once. `otherwise` ends the message:
    what the user can do instead.
    """
    try:
        with _open(url, {}, settings, "HEAD") as response:
            return _length(response)
    except HTTPError:
        return None  # some servers answer GET alone
    except (OSError, HTTPException) as error:
        _must_be_trusted(url, error, otherwise)
        reason = getattr(error, "reason", error)
        if isinstance(reason, socket.gaierror) or getattr(reason, "errno", None) in _NOT_THERE:
            raise BuilderError(
                f"Cannot reach {urlsplit(url).netloc} ({_words(error)}): check the network and "
                f"give the same command again, or {otherwise}."
            ) from error
        return None


def download(file: Download, settings: DownloadSettings, progress: Progress = silent) -> None:
    """Bring a file from its server; `progress` counts MB.

    Raises BuilderError if the server refuses, or if `settings.tries` tries in a row bring nothing,
    or if the file has more bytes than its limit, or nobody knows how many. Raises OSError if the
    disk refuses.
    """
    for path in (file.part, file.note):
        if path.is_symlink():
            raise BuilderError(f"{path} is a link, and would be written where it leads: delete it.")
        path.parent.mkdir(parents=True, exist_ok=True)
    most, idle = _size(file.part), 0
    while why := _receive(file, settings, progress):
        size = _size(file.part)
        idle = 0 if size > most else idle + 1
        most = max(most, size)
        if idle >= settings.tries:
            raise BuilderError(
                f"{file.url} does not come: {idle} tries in a row brought nothing new, the last "
                f"one because {why}. What came is kept: give the same command again later, or "
                f"{file.otherwise}."
            )
        time.sleep(settings.pause * 2 ** max(idle - 1, 0))
    with file.part.open("rb") as content:
        os.fsync(content.fileno())
    file.part.rename(file.path)


def _receive(file: Download, settings: DownloadSettings, progress: Progress) -> str | None:
    """One request for what is missing. None if the part is whole now, else why it is not."""
    known, have = Note.read(file.note), _size(file.part)
    if known is None or known.url != file.url or known.validator is None:
        known, have = None, 0
    if known and have and known.total == have:
        return None
    ask = {"Range": f"bytes={have}-", "If-Range": known.validator or ""} if known and have else {}
    try:
        response = _open(file.url, ask, settings)
    except HTTPError as error:
        error.close()
        status = f"{error.code} {printable(str(error.reason))}"
        if error.code == 416:  # the part is longer than what the server has now
            file.part.unlink(missing_ok=True)
        elif error.code not in (408, 429) and error.code < 500:
            raise BuilderError(
                f"The server does not give {file.url} ({status}): {file.otherwise}."
            ) from error
        return f"the server said {status}"
    except (OSError, HTTPException) as error:
        _must_be_trusted(file.url, error, file.otherwise)
        return _words(error)
    with response:
        if response.status == 206:
            if known is None or not _goes_on(response, have, known.total):
                file.part.unlink(missing_ok=True)
                return "the server sent another range than asked for"
            total = known.total
            file.must_be_within_limit(total)
        else:
            have, total = 0, _length(response)
            if total is None and not response.chunked:
                raise BuilderError(
                    f"The server does not say how long {file.url} is (neither Content-Length nor "
                    f"chunks), so a file that was cut off would look whole: {file.otherwise}."
                )
            file.must_be_within_limit(total)
            file.part.unlink(missing_ok=True)  # before the note: none may speak of other bytes
            note = Note(file.url, _validator(response), total)
            write_atomically(file.note, json.dumps(asdict(note)))
        why = _append(file, response, have, total, progress)
    try:
        file.must_be_within_limit(_size(file.part))
    except BuilderError:
        file.part.unlink()
        raise
    return why


def _append(
    file: Download, response: HTTPResponse, have: int, total: int | None, progress: Progress
) -> str | None:
    """Write the answer's body to the end of the part; the result is that of `_receive`."""

    def report() -> None:
        done = megabytes(have)
        progress(done, done + 1 if total is None else megabytes(total), file.path.name)

    report()
    with os.fdopen(open_own(file.part, os.O_WRONLY | os.O_APPEND | os.O_CREAT), "ab") as part:
        while have < total if total is not None else file.limit is None or have <= file.limit:
            try:
                block = response.read1(_BLOCK if total is None else min(_BLOCK, total - have))
            except (OSError, HTTPException) as error:
                return _words(error)
            if not block:
                break
            part.write(block)
            have += len(block)
            report()
    if total is not None and have < total:
        return f"the connection ended after {have} of {total} bytes"
    return None


def megabytes(size: int) -> int:
    """Bytes in MB, rounded up."""
    return -(-size // _MEGABYTE)


def _open(
    url: str, headers: Mapping[str, str], settings: DownloadSettings, method: str = "GET"
) -> HTTPResponse:
    context = None
    if settings.insecure:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    ours = {"User-Agent": "ascnet", "Accept-Encoding": "identity"}
    request = Request(_quoted(url), headers=ours | dict(headers), method=method)
    try:
        return urlopen(request, timeout=settings.timeout, context=context)
    except (ValueError, OverflowError) as error:  # of where it is sent on to
        raise URLError(f"an address that is none: {error}") from error


class _SafeRedirects(HTTPRedirectHandler):
    """An address is sent on to https, or from http to http, and to nothing else."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        kinds = ("https",) if req.type == "https" else ("http", "https")
        if urlsplit(newurl).scheme not in kinds:
            raise HTTPError(newurl, 403, f"sent on from {req.type} to {newurl}", headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def urlopen(request: Request, timeout: float, context: ssl.SSLContext | None) -> HTTPResponse:
    """As urllib's, but that no address turns into less than it was."""
    opener = build_opener(_SafeRedirects, HTTPSHandler(context=context))
    response: HTTPResponse = opener.open(request, timeout=timeout)
    return response


def _quoted(url: str) -> str:
    """Names on a server may hold spaces and worse; what is quoted already stays."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=quote(parts.path, safe="/%")))


def _length(response: HTTPResponse) -> int | None:
    length = response.headers["Content-Length"]
    return int(length) if re.fullmatch(_SIZE, length or "") else None


def _validator(response: HTTPResponse) -> str | None:
    """What tells a changed file. A weak ETag does not promise equal bytes (RFC 9110, 13.1.5)."""
    tag: str | None = response.headers["ETag"]
    if tag and not tag.startswith("W/"):
        return tag
    modified: str | None = response.headers["Last-Modified"]
    return modified


def _goes_on(response: HTTPResponse, have: int, total: int | None) -> bool:
    """Whether a 206 answer begins where the part ends, in a file of the same length."""
    match = re.fullmatch(rf"bytes ({_SIZE})-\d+/(\d+|\*)", response.headers["Content-Range"] or "")
    return match is not None and int(match[1]) == have and match[2] in (str(total), "*")


def _must_be_trusted(url: str, error: Any, otherwise: str) -> None:
    reason = getattr(error, "reason", error)
    if isinstance(reason, ssl.SSLCertVerificationError):
        raise BuilderError(
            f"The certificate of {urlsplit(url).netloc} cannot be verified "
            f"({reason.verify_message}): give --insecure to take the files from whoever answers "
            f"there, with the checksums inside the archives as the only check, or {otherwise}."
        ) from error


def _words(error: Exception) -> str:
    reason = error.reason if isinstance(error, URLError) else error
    return str(getattr(reason, "strerror", None) or reason or type(reason).__name__)


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
