"""Turn errors of HDF5 and of the file system into messages that say what to do."""

import errno
import os
import re
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py

from builder.atomic import partial_of
from builder.system_errors import next_step
from evaluate.errors import EvaluateError

_IN_USE = (errno.EAGAIN, errno.EBUSY, errno.ETXTBSY)
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
_OF_CONTENT = (errno.EINVAL, errno.EFAULT, errno.EOVERFLOW)  # a damaged file causes such reads


class UnavailableError(EvaluateError):
    """A file that cannot be read right now, such as one in use. It may be intact, so it must not be
    deleted or replaced."""


def is_there(path: Path) -> bool:
    """Whether a regular file exists. Raises UnavailableError if the system cannot tell: then it
    must not be taken for missing and replaced."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        if error.errno == errno.ELOOP:
            return False
        must_be_available(path, error)
        raise


def open_hdf5(path: Path, mode: str) -> h5py.File:
    """Open an HDF5 file, without a lock where the file system has none. This is safe: only one
    process writes at a time (`builder.atomic.only_writer`), and readers verify the checksums of a
    finished store."""
    try:
        return h5py.File(path, mode)
    except OSError as error:
        if not _has_no_locks(error):
            raise
        if mode == "x":  # it was created before it could not be locked
            path.unlink(missing_ok=True)
        return h5py.File(path, mode, locking=False)


def must_be_available(path: Path, error: Exception) -> None:
    """Raise UnavailableError if `error`, which HDF5 raised for a file, means that the system
    refused access, and so says nothing about the content of the file."""
    said = str(error)
    number = _number(error)
    if number in _IN_USE or "already open" in said:
        raise UnavailableError(
            f"{path} is in use: another process, or another part of this one, has it open for "
            "writing. Wait for it, then repeat the command. The file itself is probably intact: do "
            "not delete it. (If no process has it open, the file system still holds the lock of a "
            "process that ended: set HDF5_USE_FILE_LOCKING=FALSE in the environment to read "
            "without locks.)"
        ) from error
    if _has_no_locks(error):
        raise UnavailableError(
            f"{path} cannot be locked: {_reason(error)}. The file itself is probably intact: do "
            "not delete it. Set HDF5_USE_FILE_LOCKING=FALSE in the environment to work without "
            "locks, or copy the file to another disk."
        ) from error
    if number is not None and number not in _OF_CONTENT:
        raise UnavailableError(
            f"{path} cannot be read: {_reason(error)}. The system denied access; the file itself "
            "may be intact: do not delete it. Check the disk and the permissions, then repeat the "
            "command."
        ) from error


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raise EvaluateError if the disk refuses a write, and UnavailableError if the file is in use
    or cannot be locked."""
    try:
        yield
    except (OSError, RuntimeError, KeyError) as error:
        if _number(error) in _IN_USE or "already open" in str(error) or _has_no_locks(error):
            must_be_available(path, error)
        step = next_step(OSError(_number(error) or 0, "")) or "Check the disk."
        raise EvaluateError(
            f"Cannot write {path}: {_reason(error)}. {step} Then repeat the command: it continues "
            "where it stopped."
        ) from error


def must_have_room(path: Path, needed: int) -> None:
    """Raise EvaluateError if the disk of `path` has fewer than `needed` bytes free, and OSError if
    they cannot be allocated, for example because of a quota. HDF5 may crash without a message on a
    full disk, so this is checked first."""
    free = shutil.disk_usage(path.parent).free
    if free < needed:
        raise EvaluateError(
            f"{path} will take {needed / 1e6:.1f} MB, and its disk has {free / 1e6:.1f} MB left. "
            "Free space, then repeat the command."
        )
    trial = partial_of(path)
    try:
        with trial.open("xb") as file:
            os.posix_fallocate(file.fileno(), 0, needed)
    finally:
        trial.unlink(missing_ok=True)


def _has_no_locks(error: Exception) -> bool:
    """Whether locking failed for another reason than a lock held elsewhere."""
    number = _number(error)
    others = (None, errno.EEXIST, *_IN_USE)
    return number in _NO_LOCKS or ("lock file" in str(error) and number not in others)


def _number(error: Exception) -> int | None:
    """The errno, which h5py's errors carry as an attribute or in their text; None if there is
    none."""
    said = re.search(r"errno = (\d+)", str(error))
    number: int | None = getattr(error, "errno", None)
    return number if number is not None or said is None else int(said[1])


def _reason(error: Exception) -> str:
    said = re.search(r"error message = '([^']*)'", str(error))
    return said[1] if said else getattr(error, "strerror", None) or str(error)
