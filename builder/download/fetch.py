"""Fetch a data set from its official servers (`official.py`): download, check, unpack.

data/ucf101/
    UCF-101/, ucfTrainTestlist/   content of the archives
    UCF101.rar                    an archive: until unpacked, with keep_archives, or put by hand
    UCF101.rar.part               an archive that is being downloaded
    .fetch/UCF101.rar.json        its record, written last: it is unpacked; holds its SHA-256
    .fetch/UCF101.rar.note        what the server stated about it; deleted after the record
    .fetch/unpacking/             incomplete files
"""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from builder.atomic import LOCK_FILE, only_writer, write_atomically
from builder.download import official
from builder.download.archive_list import listed_archives
from builder.download.http import (
    Download,
    DownloadSettings,
    ask_size,
    download,
    megabytes,
    part_path,
)
from builder.download.official import ArchivePart, DataSet, File
from builder.download.rar_program import no_rar_program, rar_program
from builder.download.unpack import unpack
from builder.errors import BuilderError, BuilderUsageError
from builder.progress import Progress, silent
from builder.regular_file import open_regular
from builder.system_errors import cannot_write

_LARGEST_RECORD = 1 << 16  # bytes
MakeProgress = Callable[[str, str], AbstractContextManager[Progress]]  # (title, unit)


@dataclass(frozen=True)
class FetchSettings:
    """How to fetch a data set.

    Attributes:
        base_url: of a mirror; replaces scheme and host of every URL
        keep_archives: do not delete archives when they are unpacked
        download: settings of every download
    """

    base_url: str | None = None
    keep_archives: bool = False
    download: DownloadSettings = field(default_factory=DownloadSettings)


@dataclass(frozen=True)
class FetchSummary:
    """The result of a fetch.

    Attributes:
        files: number of downloaded files of the data set (of the requested parts)
        fetched: number of those that this run fetched
        bytes: of all of them, before unpacking
        unpacked: number of files that were in them
    """

    folder: Path
    files: int
    fetched: int
    bytes: int
    unpacked: int


@dataclass(frozen=True)
class _Job:
    """Arguments that all steps of a fetch share."""

    dataset: DataSet
    folder: Path
    settings: FetchSettings
    make_progress: MakeProgress

    @property
    def staging(self) -> Path:
        return self.folder / ".fetch" / "unpacking"

    def note_path(self, file: File) -> Path:
        return self.folder / ".fetch" / f"{file.name}.note"

    def record_path(self, file: File) -> Path:
        return self.folder / ".fetch" / f"{file.name}.json"

    def must_be_inside(self, path: Path) -> None:
        """Raise BuilderError if a component of a path below the folder is a link: files would be
        written elsewhere."""
        for place in (path, *path.parents):
            if place == self.folder:
                return
            if place.is_symlink():
                raise BuilderError(
                    f"{place} is a link to {os.path.realpath(place)}, and files are not written "
                    "through it. Take it away, or name the folder that is meant with --to."
                )

    def is_there(self, file: File) -> bool:
        return (self.folder / file.name).is_file()

    def is_done(self, file: File) -> bool:
        return self.record_path(file).is_file() and (self.folder / file.makes).exists()

    def url(self, file: File) -> str:
        base = self.settings.base_url
        return file.url if base is None else base.rstrip("/") + urlsplit(file.url).path

    def by_hand(self, files: list[File]) -> str:
        """How to get the files without a network, for the end of an error message."""
        wanted = [f"{file.url} to {self.folder / file.name}" for file in files[:4]]
        more = f" (and {len(files) - 4} more files)" if len(files) > 4 else ""
        return (
            f"download {' and '.join(wanted)}{more} by other means (page: {self.dataset.page}; "
            "a mirror: --base-url)"
        )

    @contextmanager
    def progress(self, title: str, unit: str, count: str) -> Iterator[Progress]:
        """Report progress of one file; `count`, such as " (2 of 3)", is appended to its name."""
        with self.make_progress(title, unit) as report:
            yield lambda done, total, text: report(done, total, text + count)


def fetch(
    dataset: DataSet,
    folder: Path,
    settings: FetchSettings,
    parts: tuple[str, ...] = (),
    progress: MakeProgress = lambda title, unit: nullcontext(silent),
) -> FetchSummary:
    """Fetch `dataset`, or the given parts of it, into `folder`. Files that exist, also those put
    there by hand, are not downloaded again. `progress` is called once per file.

    Raises BuilderError if the files cannot be reached, if one is damaged or not the official one,
    if the disk is full, if no program to unpack rar is installed, or if another fetch runs there.
    """
    _must_be_an_address(settings.base_url)
    chosen = _parts(dataset, parts)
    job = _Job(dataset, folder, settings, progress)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with only_writer(folder):
            job.must_be_inside(job.staging)
            shutil.rmtree(job.staging, ignore_errors=True)
            files = [*dataset.files]
            files += [file for part in chosen for file in (part.annotations, part.archives)]
            fetched = _fetch_all(job, files)
            archives = [file for part in chosen for file in listed_archives(part, folder)]
            fetched += _fetch_all(job, archives)
            records = [_read_record(job.record_path(file)) for file in files + archives]
    except OSError as error:
        raise BuilderError(
            f"{cannot_write(folder, error)} Then repeat the command; what is finished is kept."
        ) from error
    return FetchSummary(
        folder,
        files=len(records),
        fetched=fetched,
        bytes=sum(record["bytes"] for record in records),
        unpacked=sum(record["files"] for record in records),
    )


def _read_record(path: Path) -> dict[str, int]:
    """Read the record of a fetched file: its bytes, and the number of unpacked files."""
    try:
        with open_regular(path) as file:
            record = json.loads(file.read(_LARGEST_RECORD))
        return {name: int(record[name]) for name in ("bytes", "files")}
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise BuilderError(
            f"{path} is not what a fetch wrote. Delete it, and give the same command again."
        ) from error


def _must_be_an_address(base_url: str | None) -> None:
    if base_url is None:
        return
    with suppress(ValueError):  # no number between brackets, or no port
        parts = urlsplit(base_url)
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0:
            return
    raise BuilderUsageError(
        f"--base-url is {base_url!r}; it must begin with http:// or https:// and a host, "
        "such as https://mirror.example/data."
    )


def _parts(dataset: DataSet, names: tuple[str, ...]) -> list[ArchivePart]:
    known = [part.name for part in dataset.parts]
    for name in names:
        if name not in known:
            allowed = f"its parts are {', '.join(known)}" if known else "it has no parts"
            raise BuilderUsageError(
                f"--part is {name!r}, and of {dataset.name} {allowed}. Leave the option out for "
                f"{' and '.join(dataset.default_parts) or 'all of it'}."
            )
    return [part for part in dataset.parts if part.name in (names or dataset.default_parts)]


def _fetch_all(job: _Job, files: list[File]) -> int:
    """Fetch the files that are missing; return their number."""
    todo = [file for file in files if not job.is_done(file)]
    absent = [file for file in todo if not job.is_there(file)]
    for file in absent:
        if file.name.endswith(".rar") and rar_program() is None:
            raise no_rar_program(
                file.name,
                f"unpack {file.url} elsewhere and copy it here so that {job.folder / file.makes} "
                "is there",
            )
    needed = _bytes_needed(job, todo, absent)
    free = shutil.disk_usage(job.folder).free
    room = (
        f"about {megabytes(needed)} MB are needed to download and unpack the rest of "
        f"{job.dataset.name}, and {free // 1_000_000} MB were free. Make room, or name a folder on "
        "another disk with --to, and give the same command again"
    )
    if needed > free:
        raise BuilderError(f"The disk of {job.folder} has not enough room: {room}.")
    try:
        for number, file in enumerate(todo, 1):
            count = f" ({number} of {len(todo)})" if len(todo) > 1 else ""
            missing = [f for f in todo if not (job.is_there(f) or job.is_done(f))]
            _fetch_file(job, file, count, job.by_hand(missing))
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise BuilderError(
            f"The disk of {job.folder} is full: {room}; what came is kept."
        ) from error
    return len(todo)


def _bytes_needed(job: _Job, todo: list[File], absent: list[File]) -> int:
    """Free bytes that the rest of the fetch needs, as far as servers state sizes: those of the
    downloads, and as many again for unpacking (archives hardly compress videos). Archives that are
    deleted after unpacking count one at a time."""
    otherwise = job.by_hand(absent)

    def size(file: File) -> int:
        if file in absent:
            return ask_size(job.url(file), job.settings.download, otherwise) or 0
        return (job.folder / file.name).stat().st_size

    with ThreadPoolExecutor(8) as pool:
        sizes = dict(zip(todo, pool.map(size, todo), strict=True))
    parts = [part_path(job.folder / file.name) for file in absent]
    there = sum(part.stat().st_size for part in parts if part.is_file())
    unpacked = sum(sizes[file] for file in todo if file.into is not None)
    archives = [sizes[file] for file in absent if file.into is not None]
    plain = sum(sizes[file] for file in absent if file.into is None)
    passing = sum(archives) if job.settings.keep_archives else max(archives, default=0)
    return max(plain + unpacked + passing - there, 0)


def _fetch_file(job: _Job, file: File, count: str, otherwise: str) -> None:
    """Download a file, unpack it, move the content into place, and write the record, in this
    order."""
    path, note, record = job.folder / file.name, job.note_path(file), job.record_path(file)
    for written in (part_path(path), note, record):
        job.must_be_inside(written)
    if not path.is_file():
        source = Download(job.url(file), path, note, otherwise, file.most)
        with job.progress("fetching", "MB", count) as progress:
            download(source, job.settings.download, progress)
    _must_be_as_published(path, file)
    facts = {
        "url": job.url(file) if note.is_file() else None,  # None: put there by hand
        "bytes": path.stat().st_size,
        "sha256": _digest(path, "sha256"),
        "files": 1 if file.into is None else _unpack(job, file, path, count),
    }
    os.sync()  # after a power cut there must be no record without its files
    record.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(record, json.dumps(facts, indent=1) + "\n")
    part_path(path).unlink(missing_ok=True)
    if note.is_file():
        if file.into is not None and not job.settings.keep_archives:
            path.unlink()
        note.unlink()


def _digest(path: Path, algorithm: str) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, algorithm).hexdigest()


def _must_be_as_published(path: Path, file: File) -> None:
    known = official.PUBLISHED.get(file.url)
    if known is not None and (digest := _digest(path, known.algorithm)) != known.digest:
        raise BuilderError(
            f"{path} is not the official file: its {known.algorithm} is {digest}, and "
            f"{known.by} published {known.digest}. Delete it and give the same command again; if "
            "you know that it is good, unpack it by hand."
        )


def _unpack(job: _Job, file: File, path: Path, count: str) -> int:
    """Unpack into a staging folder, then move into place; return the number of files."""
    assert file.into is not None
    taken = _names_of_others(job, file.into)
    try:
        with job.progress("unpacking", "files", count) as progress:
            files = unpack(path, job.staging, file.holds_rars, progress, taken)
        inside = PurePosixPath(file.makes).relative_to(PurePosixPath(file.into))
        if not (job.staging / inside).is_dir():
            held = ", ".join(sorted(p.name for p in job.staging.iterdir())[:5])
            raise BuilderError(
                f"{path} holds no folder {inside} (but {held}): it is not the official archive. "
                "Delete it and give the same command again: it is downloaded anew."
            )
        _move(job, job.staging, job.folder / file.into)
    finally:
        shutil.rmtree(job.staging, ignore_errors=True)
    return files


def _names_of_others(job: _Job, into: str) -> frozenset[str]:
    """Names that no archive may write in the folder `into`: our own files, and other archives."""
    files = [*job.dataset.files] if into == "." else []
    for part in job.dataset.parts:
        files += listed_archives(part, job.folder) if part.name == into else []
    names = [PurePosixPath(file.name).name for file in files]
    names += [".fetch", LOCK_FILE, *(f"{name}.part" for name in names)]
    return frozenset(name.casefold() for name in names)


def _move(job: _Job, source: Path, target: Path) -> None:
    """Move a file or folder to `target`. Files of the same name are replaced, other files in a
    folder stay."""
    if source.is_dir() and target.is_dir():
        job.must_be_inside(target)
        for path in sorted(source.iterdir()):
            _move(job, path, target / path.name)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        source.replace(target)
