"""Unpack an archive (zip, tar, tar.gz, rar), after checking the names of all its members."""

import gzip
import shutil
import stat
import struct
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any, cast

import rarfile

from builder.atomic import open_new
from builder.download.rar_program import blocks_of_pipe, no_rar_program, print_all_files
from builder.errors import BuilderError
from builder.progress import Progress, silent

_BLOCK = 1 << 20  # bytes
# Archives hardly compress videos, and lists are small: one that grows by more is no data set.
MOST_GROWTH, SMALL = 10, 100 * 10**6  # times the archive's bytes; bytes that are always allowed
MOST_MEMBERS = 2_000_000
_DAMAGED = (
    zipfile.BadZipFile,
    tarfile.TarError,
    rarfile.Error,
    gzip.BadGzipFile,
    zlib.error,
    EOFError,
    RuntimeError,  # zipfile: locked by a password, or an unknown compression
    ValueError,  # zipfile and tarfile raise these three for undecodable names and bad numbers
    OverflowError,
    struct.error,
)


@dataclass(frozen=True)
class Member:
    """One entry of an archive.

    Attributes:
        name: with forward slashes
        kind: "file", "folder", or "link" for everything else (links, devices)
        size: bytes when unpacked
        blocks: yields a file's content, checked against its checksum, if it has one
    """

    name: str
    kind: str
    size: int
    blocks: Callable[[], Iterator[bytes]]


def unpack(
    archive: Path,
    folder: Path,
    holds_rars: bool = False,
    progress: Progress = silent,
    taken: Collection[str] = (),
) -> int:
    """Unpack `archive` into `folder` (created if needed); return the number of files. With
    `holds_rars`, the .rar files at its top level are unpacked in their place. `progress` counts
    files. `taken` are names that no member may have at the top level.

    Raises BuilderError, before anything is written, if a member's path would leave the folder, if
    its name is taken or has control characters, if it is a link, or if the members together have
    more than MOST_GROWTH times the archive's bytes (and more than SMALL), or more than the disk has
    free; also if the archive is damaged, or if it is a rar and no program to unpack it is
    installed. Raises OSError if a file cannot be written.
    """
    room = max(MOST_GROWTH * archive.stat().st_size, SMALL)
    target = _Target(folder, f"Delete {archive}", progress, taken)
    files, used = target.take(archive, archive.name, room)
    for inner in sorted(folder.glob("*.rar")) if holds_rars else ():
        more, size = target.take(inner, f"{inner.name} in {archive.name}", room - used)
        files, used = files + more - 1, used + size
        inner.unlink()
    return files


@dataclass(frozen=True)
class _Target:
    """The folder that archives are unpacked into, and how."""

    folder: Path
    remedy: str  # what to do about a damaged archive
    progress: Progress
    taken: Collection[str]  # names that no member may have at the top level

    def take(self, archive: Path, name: str, room: int) -> tuple[int, int]:
        """Unpack an archive; return the number of files and their bytes, at most `room`."""
        try:
            with _open(archive, room) as members:
                for member in members:
                    _must_stay_inside(name, member, self.taken)
                size = sum(member.size for member in members)
                _must_fit(name, size, room, self.folder.parent)
                files = [member for member in members if member.kind == "file"]
                self._write(files, name)
        except rarfile.RarCannotExec as error:
            raise no_rar_program(name) from error
        except _DAMAGED as error:
            raise self._unusable(
                f"{name} cannot be unpacked ({str(error) or type(error).__name__})"
            ) from error
        if not files:
            raise self._unusable(
                f"{name} holds no file that can be read (it is empty, or locked by a password)"
            )
        return len(files), size

    def _write(self, files: list[Member], name: str) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        for done, member in enumerate(files):
            self.progress(done, len(files), name)
            path = self.folder / member.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)  # of two members with the same name, the last one counts
            with open_new(path) as file:
                for block in member.blocks():
                    file.write(block)
        self.progress(len(files), len(files), name)

    def _unusable(self, problem: str) -> BuilderError:
        return BuilderError(
            f"{problem}. {self.remedy} and give the same command again: it is downloaded anew."
        )


def _must_fit(archive: str, size: int, room: int, folder: Path) -> None:
    if size > room:
        raise BuilderError(
            f"{archive} is refused, and nothing of it was written: unpacked it has "
            f"{size / 1e6:.0f} MB, and no more than {room / 1e6:.0f} MB are taken from an archive "
            "of its size. This is not the official archive: look where it came from."
        )
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    if size > (free := shutil.disk_usage(existing).free):
        raise BuilderError(
            f"The disk of {folder} has not enough room: {archive} has {size / 1e6:.0f} MB "
            f"unpacked, and {free // 1_000_000} MB are free. Make room, and give the same command "
            "again."
        )


def _must_stay_inside(archive: str, member: Member, taken: Collection[str]) -> None:
    path = PurePosixPath(member.name)
    if any(unicodedata.category(letter) == "Cc" for letter in member.name):
        problem = "has control characters in its name"
    elif path.parts and path.parts[0].casefold() in taken:
        problem = "has the name of something that is not an archive's to bring"
    elif path.is_absolute() or ".." in path.parts:
        problem = "would be written outside the folder that it is unpacked to"
    elif member.kind == "link":
        problem = "is a link or a device; files and folders alone are taken"
    else:
        return
    raise BuilderError(
        f"{archive} is refused, and nothing of it was written: its member {member.name!r} "
        f"{problem}. This is not the official archive: look where it came from."
    )


def _open(archive: Path, room: int) -> AbstractContextManager[list[Member]]:
    """Open an archive, whose format its first bytes tell, and list its members. Their blocks must
    be read in order, and while the context is open. Compressed content is not read much beyond
    `room` bytes."""
    with archive.open("rb") as file:
        start = file.read(512)
    if start.startswith(b"PK"):
        return _open_zip(archive)
    if start.startswith(b"Rar!"):
        return _open_rar(archive)
    if start.startswith(b"\x1f\x8b"):
        return _open_tar(archive, gzip.open, room)
    if start[257:262] == b"ustar":  # Kinetics once had a plain tar under the name .tar.gz
        return _open_tar(archive, open, room)
    begins = start[:40].decode("ascii", "replace")
    raise tarfile.ReadError(f"it is no zip, tar or rar, it begins with {begins!r}")


def _blocks(open_member: Callable[[], Any]) -> Iterator[bytes]:
    with open_member() as source:
        while block := source.read(_BLOCK):
            yield block


@contextmanager
def _open_zip(archive: Path) -> Iterator[list[Member]]:
    with zipfile.ZipFile(archive) as opened:
        members = []
        for info in _counted(opened.infolist()):
            mode = info.external_attr >> 16  # 0 unless written on Unix
            kind = "folder" if info.is_dir() else "file"
            if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
                kind = "link"
            blocks = partial(_blocks, partial(opened.open, info))
            members.append(Member(info.filename, kind, info.file_size, blocks))
        yield members


def _counted(infos: Iterable[Any]) -> list[Any]:
    members = list(islice(infos, MOST_MEMBERS + 1))
    if len(members) > MOST_MEMBERS:
        raise BuilderError(
            f"An archive has more than {MOST_MEMBERS} members, and no official one has: look where "
            "it came from."
        )
    return members


def _within(infos: Iterable[tarfile.TarInfo], room: int) -> Iterator[tarfile.TarInfo]:
    """Yield members; raise ReadError at the first that begins beyond `room` plus the headers of
    MOST_MEMBERS."""
    for info in infos:
        info.pax_headers = {}  # tarfile has applied them; kept for all members, they fill memory
        yield info
        if info.offset > room + MOST_MEMBERS * tarfile.BLOCKSIZE:
            raise tarfile.ReadError("it does not end where an archive of its size does")


class _InBlocks:
    """A file that refuses reads of more than a block. tarfile would read a header (a long name, an
    extended header) of any stated size into memory."""

    def __init__(self, file: Any) -> None:
        self.seek, self.tell, self._read = file.seek, file.tell, file.read

    def read(self, size: int) -> bytes:
        if not 0 <= size <= _BLOCK:
            raise tarfile.ReadError(f"a header has {size} bytes, and {_BLOCK} are allowed")
        content: bytes = self._read(size)
        return content


@contextmanager
def _open_tar(archive: Path, open_file: Callable[..., Any], room: int) -> Iterator[list[Member]]:
    with (
        open_file(archive, "rb") as stream,
        tarfile.open(fileobj=cast(Any, _InBlocks(stream)), mode="r:") as opened,
    ):
        infos = _counted(_within(opened, room))
        if sum(info.size for info in infos) <= room:
            end = stream.tell() + SMALL
            while stream.read(_BLOCK):  # to the end, where gzip verifies its checksum
                if stream.tell() > max(end, room + SMALL):
                    raise tarfile.ReadError("it goes on and on after its last member")
        yield [
            Member(
                info.name,
                "file" if info.isreg() else "folder" if info.isdir() else "link",
                info.size,
                partial(_blocks, partial(opened.extractfile, info)),
            )
            for info in infos
        ]


@contextmanager
def _open_rar(archive: Path) -> Iterator[list[Member]]:
    with rarfile.RarFile(archive, errors="strict") as opened:
        if opened.needs_password():
            raise rarfile.BadRarFile("it is locked by a password")
        infos = _counted(opened.infolist())
        pipe = None
        if any(info.is_file() and info.compress_type != rarfile.RAR_M0 for info in infos):
            pipe = print_all_files(archive)
        try:
            yield [
                Member(
                    info.filename,
                    "file" if info.is_file() else "folder" if info.is_dir() else "link",
                    info.file_size or 0,
                    partial(blocks_of_pipe, pipe.stdout, info)
                    if pipe
                    else partial(_blocks, partial(opened.open, info)),
                )
                for info in infos
            ]
        finally:
            if pipe:
                pipe.kill()
                pipe.communicate()
