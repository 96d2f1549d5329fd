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
    """How patient a download is, and whom it trusts."""

    tries: int = 7  # in a row that bring nothing new
    pause: float = 1.0  # seconds before the second try, doubled before every further one
    timeout: float = 60.0  # seconds without an answer or without a byte
    insecure: bool = False  # take any TLS certificate


@dataclass(frozen=True)
class Note:
    """What the server said of the file that a .part holds the beginning of."""

    url: str
    validator: str | None  # strong ETag or Last-Modified; None: a part cannot be gone on with
    total: int | None  # bytes

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


def partial_of(path: Path) -> Path:
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


def download(
    url: str,
    path: Path,
    note: Path,
    settings: DownloadSettings,
    otherwise: str,
    progress: Progress = silent,
    limit: int | None = None,
) -> None:
    """Bring the file at `url` to `path`. It grows as NAME.part, and the file `note` says what the
    server said of it, so that a later call goes on, or starts anew if the server's file changed.

    Raises BuilderError if the server refuses, or if `settings.tries` tries in a row bring nothing,
    or if the file has more than `limit` bytes, or nobody knows how many; `otherwise` ends the
    message. Raises OSError if the disk refuses.
    """
    part = partial_of(path)
    for own in (part, note):
        if own.is_symlink():
            raise BuilderError(f"{own} is a link, and would be written where it leads: delete it.")
    part.parent.mkdir(parents=True, exist_ok=True)
    note.parent.mkdir(parents=True, exist_ok=True)
    most, idle = _size(part), 0
    while why := _receive(url, part, note, settings, otherwise, progress, limit):
        size = _size(part)
        idle = 0 if size > most else idle + 1
        most = max(most, size)
        if idle >= settings.tries:
            raise BuilderError(
                f"{url} does not come: {idle} tries in a row brought nothing new, the last one "
                f"because {why}. What came is kept: give the same command again later, or "
                f"{otherwise}."
            )
        time.sleep(settings.pause * 2 ** max(idle - 1, 0))
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.rename(path)


def _receive(
    url: str,
    part: Path,
    note: Path,
    settings: DownloadSettings,
    otherwise: str,
    progress: Progress,
    limit: int | None,
) -> str | None:
    """One request for what is missing. None if the part is whole now, else why it is not."""
    known, have = Note.read(note), _size(part)
    if known is None or known.url != url or known.validator is None:
        known, have = None, 0
    if known and have and known.total == have:
        return None
    ask = {"Range": f"bytes={have}-", "If-Range": known.validator or ""} if known and have else {}
    try:
        response = _open(url, ask, settings)
    except HTTPError as error:
        error.close()
        if error.code == 416:  # the part is longer than what the server has now
            part.unlink(missing_ok=True)
        elif error.code not in (408, 429) and error.code < 500:
            raise BuilderError(
                f"The server does not give {url} ({error.code} {_plain(error.reason)}): "
                f"{otherwise}."
            ) from error
        return f"the server said {error.code} {_plain(error.reason)}"
    except (OSError, HTTPException) as error:
        _must_be_trusted(url, error, otherwise)
        return _words(error)
    with response:
        if response.status == 206:
            if known is None or not _goes_on(response, have, known.total):
                part.unlink(missing_ok=True)
                return "the server sent another range than asked for"
            total = known.total
            if limit is not None and total is not None and total > limit:
                raise _too_large(url, limit, otherwise)
        else:
            have, total = 0, _length(response)
            _must_be_bounded(url, response, total, limit, otherwise)
            part.unlink(missing_ok=True)  # before the note: no note may speak of other bytes
            write_atomically(note, json.dumps(asdict(Note(url, _validator(response), total))))
        why = _append(response, part, have, total, progress, limit)
    if limit is not None and _size(part) > limit:
        part.unlink()
        raise _too_large(url, limit, otherwise)
    return why


def _must_be_bounded(
    url: str, response: HTTPResponse, total: int | None, limit: int | None, otherwise: str
) -> None:
    """Raises BuilderError for an answer that is too long, or whose end could be any."""
    if total is None and not response.chunked:
        raise BuilderError(
            f"The server does not say how long {url} is (neither Content-Length nor chunks), so a "
            f"file that was cut off would look whole: {otherwise}."
        )
    if limit is not None and total is not None and total > limit:
        raise _too_large(url, limit, otherwise)


def _too_large(url: str, limit: int, otherwise: str) -> BuilderError:
    return BuilderError(
        f"{url} has more than {megabytes(limit)} MB, and the official file has less: {otherwise}."
    )


def _append(
    response: HTTPResponse,
    part: Path,
    have: int,
    total: int | None,
    progress: Progress,
    limit: int | None,
) -> str | None:
    """Write the answer's body to the end of the part; the result is that of `_receive`."""
    name = part.name.removesuffix(".part")

    def report() -> None:
        done = megabytes(have)
        progress(done, done + 1 if total is None else megabytes(total), name)

    report()
    with os.fdopen(open_own(part, os.O_WRONLY | os.O_APPEND | os.O_CREAT), "ab") as file:
        while have < total if total is not None else limit is None or have <= limit:
            try:
                block = response.read1(_BLOCK if total is None else min(_BLOCK, total - have))
            except (OSError, HTTPException) as error:
                return _words(error)
            if not block:
                break
            file.write(block)
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
    own = {"User-Agent": "ascnet", "Accept-Encoding": "identity"}
    request = Request(_quoted(url), headers=own | dict(headers), method=method)
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


def _plain(text: object) -> str:
    """What a server said, without what moves a terminal's cursor."""
    return printable(str(text))


def _words(error: Exception) -> str:
    reason = error.reason if isinstance(error, URLError) else error
    return str(getattr(reason, "strerror", None) or reason or type(reason).__name__)


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
