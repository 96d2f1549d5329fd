"""Check files by torch.save before torch reads them: a small file can demand much memory."""

import pickletools
import warnings
import zipfile
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

# Weights are hardly compressible, and torch does not compress them; but some people zip the file.
_MOST_TIMES, _MOST_MORE = 8, 64 << 20  # unpacked size: a multiple of the file's, plus bytes
_PICKLES = 5  # pickles in a file by torch before 1.6: three of a header, the object, names
_PICKLE_BYTES = 256 << 20  # names and numbers besides tensors
_STEPS = 2_000_000  # opcodes of a pickle, each making at most one object; a network takes thousands
# `bytearray(n)` allocates n bytes, and torch allows the call. No network needs it.
_FILLS = "bytearray"


def what_it_fills(path: Path) -> str:
    """How a file by torch.save would exhaust memory, as the end of a sentence ("it ..."); "" if it
    would not, or if it is damaged. Raises OSError if it cannot be read."""
    with path.open("rb") as file:
        is_zip = file.read(2) == b"PK"
        file.seek(0)
        if not is_zip:
            return _what_steps_fill(file)
    try:
        return _what_fills(path)
    # zipfile raises these for damaged files, unknown compression and passwords. torch reports them
    # when it reads the file.
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError, EOFError):
        return ""


def _what_fills(path: Path) -> str:
    size = path.stat().st_size
    with zipfile.ZipFile(path) as parts:
        unpacked = sum(part.file_size for part in parts.infolist())
        if unpacked > _MOST_TIMES * size + _MOST_MORE:
            return f"would fill {unpacked / 1e6:.0f} MB, and has {size / 1e6:.1f} MB"
        for part in parts.infolist():
            if part.filename.endswith("data.pkl"):
                if part.file_size > _PICKLE_BYTES:
                    return f"has {part.file_size / 1e6:.0f} MB besides its tensors"
                with parts.open(part) as content:
                    if what := _what_steps_fill(content):
                        return what
    return ""


def _what_steps_fill(file: IO[bytes]) -> str:
    """The same for the pickles at the beginning of a file: an opcode of one byte may make an object
    of some hundred bytes, and a small compressed file may hold many opcodes."""
    steps = 0
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # from parsing damaged pickles
            for _ in range(_PICKLES):
                for operation, argument, _ in pickletools.genops(file):
                    steps += 1
                    if steps > _STEPS:
                        return f"has more than {_STEPS} objects besides its tensors"
                    if operation.name == "GLOBAL" and str(argument).split(" ")[-1] == _FILLS:
                        return "calls bytearray to allocate memory"
    except Exception:  # no pickle, or the end of the file: torch reports what is wrong
        return ""
    return ""


def is_plain(state: Any) -> bool:
    """Whether all tensors in nested dictionaries and lists are dense, unquantised and backed by
    storage of their full size, as those of our checkpoints are."""
    seen: set[int] = set()  # a container may hold itself
    waiting = [state]
    while waiting:
        value = waiting.pop()
        if isinstance(value, Tensor):
            if not _is_plain(value):
                return False
        elif isinstance(value, dict | list | tuple) and id(value) not in seen:
            seen.add(id(value))
            waiting += value.values() if isinstance(value, dict) else value
    return True


def _is_plain(tensor: Tensor) -> bool:
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta:
        return False
    return tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()
