"""External programs that unpack compressed rar archives; rarfile itself reads only stored ones."""

import shutil
import subprocess
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import rarfile

from builder.errors import BuilderError

_BLOCK = 1 << 20  # bytes
# Arguments that print all files of a rar, one after the other, in the archive's order. (rarfile
# itself would start a program for every file, which in a solid archive unpacks all files before it
# each time; and bsdtar does not understand the arguments that rarfile 4.5 gives it.)
_PROGRAMS = {
    "unrar": ("p", "-inul", "-p-", "--"),
    "unar": ("-q", "-o", "-", "--"),
    "bsdtar": ("-x", "--to-stdout", "-f"),  # no solid RAR 4
    "7z": ("e", "-so", "-bb0", "--"),
    "7zz": ("e", "-so", "-bb0", "--"),
}
_MAY_LACK_RAR = ("7z", "7zz")  # Debian's packages of 7z leave rar to another package


def rar_program() -> str | None:
    """The most capable installed program that unpacks compressed rar archives; None if there is
    none."""
    return next(filter(_reads_rar, _PROGRAMS), None)


def _reads_rar(name: str) -> bool:
    if shutil.which(name) is None:
        return False
    if name not in _MAY_LACK_RAR:
        return True
    formats = subprocess.run([name, "i"], capture_output=True, text=True, check=False)
    return " Rar" in formats.stdout


def print_all_files(archive: Path) -> subprocess.Popen[bytes]:
    """Start the program, which writes the contents of all files of a rar to its stdout. Raises
    rarfile.RarCannotExec if none is installed."""
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
    """Yield the blocks of the next file in the program's output, and verify its checksum. Raises
    rarfile.BadRarFile if it is incomplete or its checksum is wrong."""
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
    """The error for a rar archive that no installed program can unpack."""
    return BuilderError(
        f"{name} needs a program that unpacks rar and none is installed: install unrar, unar or "
        "bsdtar (on Debian and Ubuntu: sudo apt-get install unar) and give the same "
        f"command again, or {otherwise}."
    )
