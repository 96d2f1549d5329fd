"""What is said when the operating system refuses something."""

import errno
import os

import pytest

from builder.system_errors import sentence


@pytest.mark.parametrize(
    ("number", "path", "said"),
    [
        (errno.EACCES, "a/x.csv", "a/x.csv: Permission denied. Change its permissions"),
        (errno.ENOSPC, "x.png.0123456789ab.partial", "x.png: No space left on device. Free space"),
        (errno.ENOTDIR, "x/y", "x/y: Not a directory. A file is where a folder is needed"),
        (errno.EMFILE, None, "Too many open files. Let this process open more files"),
        (errno.EXDEV, "a\nb", r"a\nb: Invalid cross-device link."),
    ],
)
def test_a_refusal_says_what_to_do(number, path, said):
    assert sentence(OSError(number, os.strerror(number), path)).startswith(said)


def test_an_error_without_a_number_is_quoted():
    assert sentence(OSError("something else")) == "something else."
