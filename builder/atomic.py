"""Files that appear whole or not at all, and one writer at a time in a folder."""

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from builder.errors import BuilderError

LOCK_FILE = ".lock"  # stays: taking it away would let two processes hold locks on two files


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
            os.fsync(file.fileno())
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    return partial


def give_name(partial: Path, path: Path) -> None:
    """Rename, and see to it that the name, too, is on the disk."""
    partial.rename(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextmanager
def only_writer(folder: Path, *, one_of_many: bool = False) -> Iterator[None]:
    """Hold a lock on a folder; the system lifts it when the process ends, however it ends. Several
    writers that are each `one_of_many` may hold it together. Raises BuilderError if another process
    (or another part of this one) holds it."""
    # A file, for network file systems pass the locks of files on, but not those of folders.
    lock = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(lock, (fcntl.LOCK_SH if one_of_many else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise BuilderError(
            f"Another process is writing to {folder}. Wait for it, or name another folder."
        ) from None
    try:
        yield
    finally:
        os.close(lock)
