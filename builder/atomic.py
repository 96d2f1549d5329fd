"""Files that appear whole or not at all, and one writer at a time in a folder.

Some file systems (exFAT, FAT, SMB, some FUSE) have no locks, no hard links, or cannot flush a
folder. What of this can be had without is had; where a protection is lost, stderr says so.
"""

import errno
import fcntl
import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from builder.errors import BuilderError

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


def write_atomically(path: Path, text: str) -> None:
    """The file appears with all of `text`, or not at all."""
    partial = write_partial(path, text)
    give_name(partial, path)


def write_partial(path: Path, content: str | bytes) -> Path:
    """Write all of `content` under a temporary name beside `path`, which is returned."""
    partial = partial_of(path)
    try:
        with partial.open("wb") as file:
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
    try:
        lock = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise BuilderError(
            f"{folder / LOCK_FILE} is a link, and would be made where it leads. Take it away."
        ) from error
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
