"""A disk that refuses, in words: it is full, a file is in use, or something is not allowed."""

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
from evaluate.errors import EvaluateError

_IN_USE = (errno.EAGAIN, errno.EBUSY, errno.ETXTBSY)
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
_OF_CONTENT = (errno.EINVAL, errno.EFAULT, errno.EOVERFLOW)  # a damaged file asks for such reads


class UnavailableError(EvaluateError):
    """A file that cannot be looked at here and now. It may be whole, so nobody may delete or
    replace it."""


def is_there(path: Path) -> bool:
    """Whether there is such a file. Raises UnavailableError if that cannot be seen: then nobody may
    take it for missing, and write another one in its place."""
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
    """As h5py opens it; without a lock where the file system has none. What is lost by that is
    little: writers keep each other off (`builder.atomic.only_writer`), and who reads a finished
    file sees by its checksums that it is whole."""
    try:
        return h5py.File(path, mode)
    except OSError as error:
        if not _has_no_locks(error):
            raise
        return h5py.File(path, mode, locking=False)


def must_be_available(path: Path, error: Exception) -> None:
    """Raises UnavailableError, in words, if `error` (what HDF5 raised for a file) is a refusal of
    the system, which says nothing of what is in the file."""
    said = str(error)
    number = _number(error)
    if number in _IN_USE or "already open" in said:
        raise UnavailableError(
            f"{path} is in use: another process, or another part of this one, has it open for "
            "writing. Wait for it and give the same command again. Nothing is known to be wrong "
            "with the file: do not delete it. (If nobody has it open, its file system keeps the "
            "lock of a process that is gone: HDF5_USE_FILE_LOCKING=FALSE in the environment reads "
            "without locks.)"
        ) from error
    if _has_no_locks(error):
        raise UnavailableError(
            f"{path} cannot be locked: {_reason(error)}. Nothing is known to be wrong with the "
            "file: do not delete it. Set HDF5_USE_FILE_LOCKING=FALSE in the environment, and no "
            "lock is asked for; or copy the file to another disk."
        ) from error
    if number is not None and number not in _OF_CONTENT:
        raise UnavailableError(
            f"{path} cannot be read: {_reason(error)}. The system refuses, which says nothing of "
            "what is in the file: do not delete it. See to the disk or the permissions, and give "
            "the same command again."
        ) from error


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raises EvaluateError, in words, for what HDF5 raises when the disk refuses;
    UnavailableError if the file is in use, or cannot be locked."""
    try:
        yield
    except (OSError, RuntimeError, KeyError) as error:
        if _number(error) in _IN_USE or "already open" in str(error) or _has_no_locks(error):
            must_be_available(path, error)
        raise EvaluateError(
            f"Cannot write {path}: {_reason(error)}. Make room, or see to the permissions, and "
            "give the same command again: it goes on where it was."
        ) from error


def must_have_room(path: Path, needed: int) -> None:
    """Raises EvaluateError if the disk of `path` has less than `needed` bytes left, and OSError if
    it does not give so many: there may be a quota. HDF5 can crash where it cannot write, so that
    nobody would be told."""
    free = shutil.disk_usage(path.parent).free
    if free < needed:
        raise EvaluateError(
            f"{path} will take {needed / 1e6:.1f} MB, and its disk has {free / 1e6:.1f} MB left. "
            "Make room, and give the same command again."
        )
    trial = partial_of(path)
    try:
        with trial.open("xb") as file:
            os.posix_fallocate(file.fileno(), 0, needed)
    finally:
        trial.unlink(missing_ok=True)


def _has_no_locks(error: Exception) -> bool:
    """Whether a lock could not be had, though nobody else holds one."""
    number = _number(error)
    return number in _NO_LOCKS or ("lock file" in str(error) and number not in (None, *_IN_USE))


def _number(error: Exception) -> int | None:
    """The system's own, which h5py's errors carry as an attribute, or in their text."""
    said = re.search(r"errno = (\d+)", str(error))
    number: int | None = getattr(error, "errno", None)
    return number if number is not None or said is None else int(said[1])


def _reason(error: Exception) -> str:
    said = re.search(r"error message = '([^']*)'", str(error))
    return said[1] if said else getattr(error, "strerror", None) or str(error)
