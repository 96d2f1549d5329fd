"""What a refusal of the operating system means, and what to do about it."""

import errno
from pathlib import Path

from builder.atomic import without_partial
from builder.printable import printable

_DENIED = "Change its permissions, or name another path."
_FULL = "Free space, or name a path on another disk."
_IN_THE_WAY = "A file is where a folder is needed: move it away, or name another path."
_STEPS = {
    errno.EACCES: _DENIED,
    errno.EPERM: _DENIED,
    errno.EROFS: "Name a path on another disk.",
    errno.EEXIST: _IN_THE_WAY,
    errno.ENOTDIR: _IN_THE_WAY,
    errno.EISDIR: "A folder is where a file is needed: name another path.",
    errno.ENOENT: "Check the path.",
    errno.ENAMETOOLONG: "Name a shorter path.",
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EMFILE: "Let this process open more files, such as with `ulimit -n 4096`.",
    errno.ENFILE: "Close other programs: all processes together have too many open files.",
    errno.EIO: "The disk may be failing: check it, and copy what you need from it.",
}


def next_step(error: OSError) -> str:
    """A sentence that says what to do, or "" where nothing is known."""
    return _STEPS.get(error.errno or 0, "")


def cannot_write(path: Path, error: OSError) -> str:
    """Sentences for a file or folder that could not be written."""
    said = f"Cannot write {printable(str(path))}: {error.strerror or error}."
    return f"{said} {next_step(error)}".rstrip()


def sentence(error: OSError) -> str:
    """The path, if there is one, what the system said, and what to do. The path of an unfinished
    file is that of the file to be."""
    path = without_partial(str(error.filename or ""))
    where = f"{printable(path)}: " if path else ""
    return f"{where}{error.strerror or error}. {next_step(error)}".rstrip()
