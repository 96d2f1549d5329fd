"""Files that appear whole or not at all, and one writer at a time in a folder.

A folder may be another's: what lies there may be links to whatever its reader may write. So nothing
is written through a link. A new file has a name that nobody can know before, and is made by who
writes it; a finished one takes its name by a rename, which replaces a link and does not follow it;
and what has to have the same name every time is looked at (`open_own`). Folders that are links are
followed: people put them on other disks.

Some file systems (exFAT, FAT, SMB, some FUSE) have no locks, no hard links, or cannot flush a
folder. What of this can be had without is had; where a protection is lost, stderr says so.
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
LOCK_FILE = ".lock"  # stays: taking it away would let two processes hold locks on two files

# What a system call says that the file system does not have. (ENOTSUP is EOPNOTSUPP on Linux.)
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
    """Whether an operation failed because the file system does not have it."""
    return error.errno in _NOT_HERE


def partial_of(path: Path) -> Path:
    """A temporary name that nobody else, here or on another machine, uses."""
    return path.with_name(f"{path.name}.{secrets.token_hex(6)}.partial")


def partials_in(folder: Path) -> list[Path]:
    """What writers that were killed left in a folder, by its name."""
    return [path for path in folder.glob("*.partial") if _PARTIAL.fullmatch(path.name)]


def open_new(path: Path, buffering: int = -1) -> BinaryIO:
    """A file that is not there yet, to write to. Raises FileExistsError if there is one, or a
    link, wherever it leads."""
    return path.open("xb", buffering)


def open_own(path: Path, flags: int, mode: int = 0o666, *, may_have_names: bool = False) -> int:
    """A descriptor of a file that has the same name every time, made if `flags` say so. Raises
    BuilderError if something else has that name: a link, a device, or (unless it
    `may_have_names`, as where nothing is written) a file that has a second name, in another
    folder: what is written to one is written to both. `flags` must not truncate."""
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
    """What `open_own` says, for a file that others open."""
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
    """The file appears with all of `content`, or not at all."""
    partial = write_partial(path, content)
    give_name(partial, path)


def write_partial(path: Path, content: FileContent) -> Path:
    """Write all of `content` under a temporary name beside `path`, which is returned."""
    partial = partial_of(path)
    try:
        with open_new(partial) as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            _sync(file.fileno())
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    return partial


def give_name(partial: Path, path: Path) -> None:
    """Rename, and see to it that the name, too, is on the disk."""
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
    """Hold a lock on a folder; the system lifts it when the process ends, however it ends. Several
    writers that are each `one_of_many` may hold it together. Raises BuilderError if another process
    (or another part of this one) holds it. Where the file system has no locks, nothing is held, and
    a line on stderr says so."""
    # A file, for network file systems pass the locks of files on, but not those of folders.
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
