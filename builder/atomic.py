"""Atomic writes of files, and a lock that admits one writer to a folder.

A folder may belong to somebody else, who could have put links there to files that only we may
write. So nothing is written through a link: a new file gets an unpredictable name and is created
exclusively; a finished file gets its name by a rename, which replaces a link and does not follow
it; and files with a fixed name are checked when they are opened (`open_own`). Folders that are
links are followed: people put them on other disks.

Some file systems (exFAT, FAT, SMB, some FUSE) have no locks, no hard links, or cannot sync a
folder. Everything that works without these is still done; where a protection is lost, stderr says
so.
"""

import errno
import fcntl
import os
import re
import secrets
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from builder.errors import BuilderError

_PARTIAL = re.compile(r".+\.[0-9a-f]{12}\.partial", re.DOTALL)
FileContent = str | bytes | memoryview
LOCK_FILE = ".lock"  # never deleted: two processes could then hold locks on two files

# Errors of operations that the file system does not support. (ENOTSUP is EOPNOTSUPP on Linux.)
_NOT_HERE = frozenset(
    {
        errno.EINVAL,
        errno.ENOLCK,
        errno.ENOSYS,
        errno.ENOTSUP,
        errno.ENOTTY,
        errno.EOPNOTSUPP,
        errno.EPERM,
    }
)


def is_not_here(error: OSError) -> bool:
    """Whether an operation failed because the file system does not support it."""
    return error.errno in _NOT_HERE


def partial_of(path: Path) -> Path:
    """A random temporary name beside `path`, unique across processes and machines."""
    return path.with_name(f"{path.name}.{secrets.token_hex(6)}.partial")


def without_partial(name: str) -> str:
    """The name that a partial file is to get; other names stay as they are."""
    return name.rsplit(".", 2)[0] if _PARTIAL.fullmatch(name) else name


def partials_in(folder: Path) -> list[Path]:
    """Partial files in a folder, recognised by their names: leftovers of killed writers."""
    return [path for path in folder.glob("*.partial") if _PARTIAL.fullmatch(path.name)]


def open_new(path: Path, buffering: int = -1) -> BinaryIO:
    """Create a file and open it for writing. Raises FileExistsError if the name is taken, even by
    a dangling link."""
    return path.open("xb", buffering)


def open_own(path: Path, flags: int, mode: int = 0o666, *, may_have_names: bool = False) -> int:
    """Open a file whose name is fixed, with the flags of `os.open`, which must not truncate, and
    return its descriptor. Raises BuilderError if the name belongs to a link, a folder, a pipe, a
    device or a file with a second hard link, as writing to it would change a file elsewhere.
    `may_have_names` permits hard links, for files that nothing is written to."""
    try:
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, mode)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            must_be_own(path)
        raise
    try:
        _must_be_own(path, os.fstat(descriptor), may_have_names)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def must_be_own(path: Path) -> None:
    """Raise what `open_own` would, for a file that another library opens."""
    _must_be_own(path, path.lstat(), may_have_names=False)


def _must_be_own(path: Path, status: os.stat_result, may_have_names: bool) -> None:
    if stat.S_ISLNK(status.st_mode):
        raise BuilderError(
            f"{path} is a link, and what is written there would go into {path.readlink()}. "
            "Delete the link (not what it leads to), and give the same command again."
        )
    if not stat.S_ISREG(status.st_mode):
        raise BuilderError(
            f"{path} is no file that can be written to, but a folder, a pipe or a device. Move it "
            "away, and give the same command again."
        )
    if status.st_nlink > 1 and not may_have_names:
        raise BuilderError(
            f"{path} has a second name in some folder (a hard link), and what is written there "
            "would be in both. Put a copy in its place, or delete it, and give the same command "
            "again."
        )


def write_atomically(path: Path, content: FileContent) -> None:
    """Write a file such that it appears with all of `content`, or not at all."""
    partial = write_partial(path, content)
    give_name(partial, path)


def write_partial(path: Path, content: FileContent) -> Path:
    """Write and sync `content` under a temporary name beside `path`; return that name."""
    partial = partial_of(path)
    try:
        with open_new(partial) as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            _sync(file.fileno())
    except BaseException as error:
        partial.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:  # a full disk names no file
            error.filename = str(path)
        raise
    return partial


def give_name(partial: Path, path: Path) -> None:
    """Rename a partial file, and sync the folder so that the new name is on the disk, too."""
    partial.rename(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        _sync(folder)
    finally:
        os.close(folder)


def _sync(descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    except OSError as error:
        if not is_not_here(error):
            raise


@contextmanager
def only_writer(folder: Path, *, one_of_many: bool = False) -> Iterator[None]:
    """Hold an exclusive lock on a folder, or with `one_of_many` a shared one. The system releases
    it when the process ends, however it ends. Raises BuilderError if another process (or another
    part of this one) holds a lock that excludes it. Where the file system has no locks, nothing is
    locked, and a line on stderr says so."""
    # A lock on a file: network file systems forward locks of files, but not those of folders.
    lock = open_own(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o644, may_have_names=True)
    try:
        fcntl.flock(lock, (fcntl.LOCK_SH if one_of_many else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise BuilderError(
            f"Another process is writing to {folder}. Wait for it, or name another folder."
        ) from None
    except OSError as error:
        if not is_not_here(error):
            os.close(lock)
            raise
        print(
            f"Careful: the file system of {folder} has no locks ({error.strerror}), so nothing "
            "keeps two processes from writing there at once. See to it that only one does.",
            file=sys.stderr,
        )
    try:
        yield
    finally:
        os.close(lock)
