"""Download one file over HTTP: resumable, and under its final name only when complete."""

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
_SIZE = r"[0-9]{1,18}"  # bytes, as stated by a server
_LARGEST_NOTE = 1 << 16  # bytes
_MEGABYTE = 1_000_000
_NOT_THERE = (errno.ECONNREFUSED, errno.ENETUNREACH, errno.EHOSTUNREACH)


@dataclass(frozen=True)
class DownloadSettings:
    """Retries, time-outs and certificate checks of a download.

    Attributes:
        tries: give up after so many attempts in a row without any new bytes
        pause: seconds before the second attempt, doubled before each further one
        timeout: seconds without a response or without a byte
        insecure: accept any TLS certificate
    """

    tries: int = 7
    pause: float = 1.0
    timeout: float = 60.0
    insecure: bool = False


@dataclass(frozen=True)
class Note:
    """What the server stated about a file that a .part holds the beginning of.

    Attributes:
        url: of the file
        validator: strong ETag or Last-Modified; None if the download cannot be resumed
        total: size of the file in bytes
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
    """A file on a server, and its destination. It is downloaded to NAME.part; `note` records what
    the server stated, so that a later attempt can resume, or start again if the file changed.

    Attributes:
        url: of the file
        path: destination
        note: path of its Note
        otherwise: what the user can do instead, for the end of error messages
        limit: bytes; a larger file is refused, and nothing of it is kept
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
    """The path of a file while it is being downloaded."""
    return path.with_name(path.name + ".part")


def ask_size(url: str, settings: DownloadSettings, otherwise: str) -> int | None:
    """Size in bytes of the file at `url`; None if the server does not state it.

    Raises BuilderError, without retrying, if the server cannot be reached. The message ends with
    `otherwise`: what the user can do instead.
    """
    try:
        with _open(url, {}, settings, "HEAD") as response:
            return _length(response)
    except HTTPError:
        return None  # some servers support only GET
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
    """Download a file; `progress` counts MB.

    Raises BuilderError if the server refuses, if `settings.tries` attempts in a row bring nothing
    new, or if the file exceeds its limit or has no known length. Raises OSError if it cannot be
    written.
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
    """Request the missing bytes once. Return None if the part is complete, else the reason why it
    is not."""
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
            file.part.unlink(missing_ok=True)  # first: a note must not describe other bytes
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
    """Append the response's body to the part; return as `_receive`."""

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
    """Convert bytes to MB, rounded up."""
    return -(-size // _MEGABYTE)


def _open(
    url: str, headers: Mapping[str, str], settings: DownloadSettings, method: str = "GET"
) -> HTTPResponse:
    context = None
    if settings.insecure:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    defaults = {"User-Agent": "ascnet", "Accept-Encoding": "identity"}
    request = Request(_quoted(url), headers=defaults | dict(headers), method=method)
    try:
        return urlopen(request, timeout=settings.timeout, context=context)
    except (ValueError, OverflowError) as error:  # an invalid address in a redirect
        raise URLError(f"an address that is none: {error}") from error


class _SafeRedirects(HTTPRedirectHandler):
    """Follows redirects to https, and from http to http, but no others."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        kinds = ("https",) if req.type == "https" else ("http", "https")
        if urlsplit(newurl).scheme not in kinds:
            raise HTTPError(newurl, 403, f"sent on from {req.type} to {newurl}", headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def urlopen(request: Request, timeout: float, context: ssl.SSLContext | None) -> HTTPResponse:
    """As urllib's, but refuses redirects from https to http, or to other schemes."""
    opener = build_opener(_SafeRedirects, HTTPSHandler(context=context))
    response: HTTPResponse = opener.open(request, timeout=timeout)
    return response


def _quoted(url: str) -> str:
    """Quote the path of a URL; what is quoted already stays."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=quote(parts.path, safe="/%")))


def _length(response: HTTPResponse) -> int | None:
    length = response.headers["Content-Length"]
    return int(length) if re.fullmatch(_SIZE, length or "") else None


def _validator(response: HTTPResponse) -> str | None:
    """The header by which a changed file is recognised. A weak ETag does not guarantee equal bytes
    (RFC 9110, 13.1.5)."""
    tag: str | None = response.headers["ETag"]
    if tag and not tag.startswith("W/"):
        return tag
    modified: str | None = response.headers["Last-Modified"]
    return modified


def _goes_on(response: HTTPResponse, have: int, total: int | None) -> bool:
    """Whether a 206 response begins where the part ends, in a file of the same length."""
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
