"""Recognise files that were named as weights but hold none: web pages, Git LFS pointers, archives.

The first bytes decide, not the file name's extension.
"""

import codecs
import re
import zipfile
from pathlib import Path

from builder.command_line import quoted

_LOOKED_AT = 4096  # bytes read from the beginning of a file
_LONGEST_HEADER = 100_000_000  # bytes; the limit of the safetensors library
_SHOWN = 60  # characters of a file's text in a message
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
_LFS = b"version https://git-lfs.github.com/spec/"
_PAGE = (b"<!doctype html", b"<html", b"<head", b"<body")
# Commands that decompress to stdout, by the magic bytes of the compressed file.
_UNPACKS = {
    b"\x1f\x8b": "gzip -dc",
    b"BZh": "bzip2 -dc",
    b"\xfd7zXZ\0": "xz -dc",
    b"\x28\xb5\x2f\xfd": "zstd -dc",
}
_PACKED = (".gz", ".bz2", ".xz", ".zst")
# Offset, magic bytes at it, kind of file.
_MARKS = (
    (0, b"\x93NUMPY", "a NumPy array (.npy)"),
    (0, b"\x89HDF\r\n", "an HDF5 file, such as Keras' weights or a feature store"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (0, b"Rar!\x1a", "a RAR archive"),
    (257, b"ustar", "a tar archive"),
    (0, b"GGUF", "a GGUF model"),
    (0, b"\x89PNG\r\n", "a PNG picture"),
    (0, b"\xff\xd8\xff", "a JPEG picture"),
    (0, b"%PDF-", "a PDF document"),
    (4, b"ftyp", "an MP4 video"),
    (0, b"\x1a\x45\xdf\xa3", "a Matroska or WebM video"),
    (0, b"RIFF", "an AVI video, or another RIFF file"),
)
TAKEN = "It takes .safetensors, or what torch.save wrote of a state dict."


def is_safetensors(path: Path) -> bool:
    """Whether a file begins like safetensors: with the length of a header, and a JSON header."""
    with path.open("rb") as file:
        start = file.read(9)
    length = int.from_bytes(start[:8], "little")
    return len(start) == 9 and start[8:] == b"{" and length <= _LONGEST_HEADER


def is_zip(path: Path) -> bool:
    """Whether a file can be read as a zip file."""
    return _names(path) is not None


def is_torchscript(path: Path) -> bool:
    """Whether a file is a zip file written by torch.jit.save."""
    names = _names(path) or []
    return _has(names, "data.pkl") and _has(names, "constants.pkl")


def something_else(path: Path) -> str:
    """The kind of a file that cannot hold weights, and what to do about it, as the end of a
    sentence: "a web page. ..."; "" if it may hold weights. Raises OSError if it cannot be read."""
    with path.open("rb") as file:
        start = file.read(_LOOKED_AT)
    return (
        _nothing(start)
        or _pointer(start)
        or _page(start)
        or _packed(start, path)
        or _marked(start)
        or (_zip(path) if start.startswith(_ZIP) else "")
        or _onnx(path)
        or _text(start)
    )


def _nothing(start: bytes) -> str:
    if not start:
        return "an empty file. Copy or download it again."
    if not start.strip(b"\0"):
        return "blank at its beginning: its download was not finished. Copy or download it again."
    return ""


def _pointer(start: bytes) -> str:
    if not start.startswith(_LFS):
        return ""
    size = re.search(rb"^size (\d+)", start, re.MULTILINE)
    of = f" of {int(size[1])} bytes" if size else ""
    return (
        f"a Git LFS pointer, which stands for a file{of} that was not downloaded. Run `git lfs "
        "pull` in the repository it is from, or download the file itself."
    )


def _page(start: bytes) -> str:
    text = start.removeprefix(codecs.BOM_UTF8).lstrip()
    if not text[:20].lower().startswith(_PAGE):
        return ""
    heading = re.search(rb"<title[^>]*>([^<]*)", text, re.IGNORECASE)
    title = f" ({_quoted(heading[1])})" if heading else ""
    return (
        f"a web page{title}, about the file or about an error. Open its address in a browser and "
        "download the file from there."
    )


def _packed(start: bytes, path: Path) -> str:
    unpack = next((command for mark, command in _UNPACKS.items() if start.startswith(mark)), "")
    if not unpack:
        return ""
    file = path.absolute()
    name = file.stem if file.suffix in _PACKED else file.name
    arguments = map(quoted, (str(file), str(file.with_name(f"unpacked-{name}"))))
    return (
        f"compressed with {unpack.split()[0]}. Unpack it and name what comes out: "
        f"{unpack} {' > '.join(arguments)}"
    )


def _marked(start: bytes) -> str:
    for at, mark, kind in _MARKS:
        if start[at:].startswith(mark):
            advice = "Unpack it and name the file in it. " if "archive" in kind else ""
            return f"{kind}. {advice}{TAKEN}"
    return ""


def _zip(path: Path) -> str:
    names = _names(path)
    if names is None:
        return "a zip file without its end, cut short. Copy or download it again."
    if _has(names, "data.pkl"):  # a checkpoint
        return ""
    if names and all(name.endswith(".npy") for name in names):
        return f"a NumPy archive (.npz). {TAKEN}"
    some = ", ".join(_quoted(name.encode(errors="replace")) for name in names[:3])
    more = ", ..." if len(names) > 3 else ""
    return (
        f"a zip archive and no checkpoint; in it {'is' if len(names) == 1 else 'are'} "
        f"{some or 'no files'}{more}. Unpack it and name the file in it. {TAKEN}"
    )


def _onnx(path: Path) -> str:
    if path.suffix != ".onnx":
        return ""
    return f"an ONNX model. Of a run, `ascnet export --to safetensors` writes weights. {TAKEN}"


def _text(start: bytes) -> str:
    try:
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(start)
    except UnicodeDecodeError:
        return ""
    if not all(letter.isprintable() or letter.isspace() for letter in text):
        return ""
    return f"a text, which begins {_quoted(text.encode())}. {TAKEN}"


def _names(path: Path) -> list[str] | None:
    """Names of the members of a zip file; None if it is no zip file, or damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except OSError:
        raise
    except Exception:  # a damaged file may raise anything
        return None


def _has(names: list[str], record: str) -> bool:
    """Whether one of torch's records is among a zip file's members, at most one folder deep."""
    return any(name.rpartition("/")[2] == record and name.count("/") <= 1 for name in names)


def _quoted(content: bytes) -> str:
    """The beginning of a text in quotes, on one line, without unprintable characters."""
    line = " ".join(content.decode("utf-8", "replace").split())
    shown = "".join(letter if letter.isprintable() else "?" for letter in line)
    return f'"{shown[:_SHOWN]}{"..." if len(shown) > _SHOWN else ""}"'
