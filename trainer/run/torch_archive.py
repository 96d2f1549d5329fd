"""What torch.save wrote, looked at before torch reads it: a small file may ask for much memory."""

import pickletools
import warnings
import zipfile
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

# Numbers of a network are hardly compressible, and torch does not try; some zip the file again.
_MOST_TIMES, _MOST_MORE = 8, 64 << 20  # times the size of the file, and bytes more
_PICKLES = 5  # of a file by torch before 1.6: marks, then what was saved, then names
_PICKLE_BYTES = 256 << 20  # of names and numbers beside tensors
_STEPS = 2_000_000  # of a pickle, each of which makes an object or less; a network takes thousands
# It makes as many bytes as a file says; torch lets it be called. Nobody saves such a thing.
_FILLS = "bytearray"


def what_it_fills(path: Path) -> str:
    """What of a file by torch.save would fill the memory, as the end of a sentence ("it ..."); ""
    if nothing would, or the file is damaged."""
    with path.open("rb") as file:
        is_zip = file.read(2) == b"PK"
        file.seek(0)
        if not is_zip:
            return _what_steps_fill(file)
    try:
        return _what_fills(path)
    # What zipfile raises of a damaged file, of one that is packed in a way it does not know, and of
    # one with a password: torch says what is wrong with these as it reads them.
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
                    return f"has {part.file_size / 1e6:.0f} MB beside its tensors"
                with parts.open(part) as content:
                    if what := _what_steps_fill(content):
                        return what
    return ""


def _what_steps_fill(file: IO[bytes]) -> str:
    """The same of the pickles at the beginning of a file: a step of one byte may make an object of
    some hundred, and the steps of a small packed file may be many."""
    steps = 0
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what stands in a damaged one
            for _ in range(_PICKLES):
                for operation, argument, _ in pickletools.genops(file):
                    steps += 1
                    if steps > _STEPS:
                        return f"has more than {_STEPS} things beside its tensors"
                    if operation.name == "GLOBAL" and str(argument).split(" ")[-1] == _FILLS:
                        return "asks for memory by a number"
    except Exception:  # no pickle, or the end of the file: torch says what is wrong
        return ""
    return ""


def is_plain(state: Any) -> bool:
    """Whether all tensors in dictionaries and lists have their numbers in memory of their own, as
    those of our checkpoints do."""
    seen: set[int] = set()  # one may hold itself
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
