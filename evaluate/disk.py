"""A disk that refuses, in words: it is full, or writing is not allowed."""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from evaluate.errors import EvaluateError


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raises EvaluateError, in words, for what HDF5 raises when the disk refuses."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        said = re.search(r"error message = '([^']*)'", str(error))
        reason = said[1] if said else getattr(error, "strerror", None) or str(error)
        raise EvaluateError(
            f"Cannot write {path}: {reason}. Make room, or see to the permissions, and give the "
            "same command again: it goes on where it was."
        ) from error


def must_have_room(path: Path, needed: int) -> None:
    """Raises EvaluateError if the disk of `path` has less than `needed` bytes left."""
    free = shutil.disk_usage(path.parent).free
    if free < needed:
        raise EvaluateError(
            f"{path} will take {needed / 1e6:.1f} MB, and its disk has {free / 1e6:.1f} MB left. "
            "Make room, and give the same command again."
        )
