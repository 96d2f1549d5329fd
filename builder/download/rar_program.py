"""The program that unpacks compressed rar archives: rarfile itself reads stored ones alone."""

import shutil
import subprocess
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import rarfile

from builder.errors import BuilderError

_BLOCK = 1 << 20  # bytes
# What prints all files of a rar, one after the other, in the order in which they lie there. (By
# itself rarfile starts a program for every file, which of a solid archive unpacks all files before
# it each time; and what it gives to bsdtar is not understood, rarfile 4.5.)
_PROGRAMS = {
    "unrar": ("p", "-inul", "-p-", "--"),
    "unar": ("-q", "-o", "-", "--"),
    "bsdtar": ("-x", "--to-stdout", "-f"),  # no solid RAR 4
    "7z": ("e", "-so", "-bb0", "--"),  # Debian's reads no rar
    "7zz": ("e", "-so", "-bb0", "--"),
}


def rar_program() -> str | None:
    """The program that unpacks compressed rar archives here, the most capable of those installed;
    None if there is none."""
    return next((name for name in _PROGRAMS if shutil.which(name)), None)


def print_all_files(archive: Path) -> subprocess.Popen[bytes]:
    """The program, started: it writes all files of a rar to its output. Raises
    rarfile.RarCannotExec if there is none."""
    program = rar_program()
    if program is None:
        raise rarfile.RarCannotExec
    return subprocess.Popen(
        [program, *_PROGRAMS[program], str(archive.absolute())],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )


def blocks_of_pipe(pipe: Any, info: rarfile.RarInfo) -> Iterator[bytes]:
    """The next file in the program's output, checked against its checksum."""
    left, checksum = info.file_size, 0
    while left and (block := pipe.read(min(left, _BLOCK))):
        left -= len(block)
        checksum = zlib.crc32(block, checksum)
        yield block
    if left or info.CRC not in (checksum, None):
        raise rarfile.BadRarFile(
            f"{info.filename} does not come whole out of {rar_program()}; if the archive is good, "
            f"another one of {', '.join(_PROGRAMS)} may do better"
        )


def no_rar_program(name: str, otherwise: str = "unpack it elsewhere") -> BuilderError:
    """The error of a rar archive that nothing here unpacks."""
    return BuilderError(
        f"{name} needs a program that unpacks rar and none is installed: install unrar, unar or "
        "bsdtar (Debian, Ubuntu: apt-get install unrar, unar or libarchive-tools) and give the "
        f"same command again, or {otherwise}."
    )
