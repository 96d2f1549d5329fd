"""Read the tensors of a file by name. Files that would need unpickling are refused, with the
command that converts them."""

import pickle
import re
import sys
import warnings
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from builder.command_line import quoted
from trainer.errors import TrainerError
from trainer.run.checkpoint import list_checkpoints
from trainer.run.torch_archive import what_it_fills
from trainer.weights.file_kind import TAKEN, is_safetensors, is_torchscript, is_zip, something_else

Nest = tuple[str, ...]  # the path of keys to an entry of nested dictionaries

SHOWN = 3  # names in a message
# Keys under which files commonly keep their tensors, likelier ones first; any other is found, too.
_NESTS = [
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "net",
    "network",
    "student",
    "online",
    "encoder_q",
    "encoder",
    "backbone",
    "module",
    "weights",
]
_DEEPEST = 100  # largest depth of nesting; real files have a few levels
_CODE = "and reading it would run code that the file names"
# latin1: in files by Python 2, such as Caffe2's, the numbers are stored in strings.
_TORCH = "torch.load(sys.argv[1], map_location='cpu', weights_only=False, encoding='latin1')"
_TORCHSCRIPT = "torch.jit.load(sys.argv[1], map_location='cpu')"
_PICKLE = "pickle.load(open(sys.argv[1], 'rb'), encoding='latin1')"
_MAGIC = b"l\xfc\x9cF\xf9 j\xa8P\x19"  # in the first bytes of what torch.save wrote before 1.6
_PICKLES = tuple(pickle.PROTO + bytes([n]) for n in range(2, pickle.HIGHEST_PROTOCOL + 1))
# Code that extracts the tensors of an unpickled object `s` under their names. Methods are looked up
# on the type, as some dictionaries of settings answer to any attribute name, and as `s` may be a
# class. `o`: ids of the containers around `s`, as some hold themselves. The code stands in double
# quotes in a shell command, so it must not contain ", $, ` or !.
_TENSORS = (
    "a = lambda s: torch.from_numpy(s.astype(s.dtype.newbyteorder('='))) "
    "if s.dtype.kind in 'biuf' and s.dtype.itemsize < 9 else None; "
    "t = lambda s, *o: s if torch.is_tensor(s) "
    "else None if id(s) in o "
    "else a(s) if type(s).__name__ == 'ndarray' "
    "else t(s.state_dict(), id(s), *o) if hasattr(type(s), 'state_dict') "
    "else {str(k): t(v, id(s), *o) for k, v in s.items()} if hasattr(type(s), 'items') "
    "else [t(v, id(s), *o) for v in s] if isinstance(s, (list, tuple)) else None"
)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a file by safetensors or `torch.save`, on the CPU, by name. The kind is
    recognised by content, not by the file's name.

    Of nested tensors, as in {"epoch": 3, "state_dict": {...}}, those of the likeliest dictionary
    come first, under their inner names; the others follow with the path of keys before their names:
    "ema.conv1.weight". States of optimisers are left out. Raises TrainerError if there is no such
    file, if it cannot be read without unpickling, or if it holds no named tensors.
    """
    if not path.is_file():
        checkpoints = list_checkpoints(path)
        what, hint = "a folder, no file of weights", "Name a file, or a run with --run."
        if checkpoints:
            hint = f"Its newest checkpoint is {checkpoints[-1]}."
        elif not path.exists():
            what, hint = "not there", "Check the path of the file of weights."
        if path.is_symlink() and not path.exists():
            what = "no file of weights"
            hint = f"It is a link to {path.readlink()}, which is not there: copy or fetch that."
        raise TrainerError(f"{path} is {what}. {hint}")
    try:
        if kind := something_else(path):
            raise TrainerError(f"{path} cannot be read as a file of weights: it is {kind}")
        if is_safetensors(path):
            return load_file(path)
    except (SafetensorError, OSError) as error:
        raise unreadable(path, error) from error
    return _dig(_unpickled_safely(path), path)


def _unpickled_safely(path: Path) -> Any:
    zipped = False
    try:
        zipped = is_zip(path)
        if what := what_it_fills(path):
            raise TrainerError(
                f"{path} is refused: it {what}, which no file of weights does. Get it again from a "
                "source that you trust, or do not use it."
            )
        if zipped:
            _check_parts(path)
            if is_torchscript(path):
                raise TrainerError(_conversion(path, "is a TorchScript program", _TORCHSCRIPT))
        # Given an open file, torch ignores the file's name.
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # about formats that it may fail to read
            return torch.load(file, map_location="cpu", weights_only=True)
    except TrainerError:
        raise
    except OSError as error:
        raise unreadable(path, error) from error
    except Exception as error:  # a damaged file may raise anything
        content = path.read_bytes()
        by_torch = zipped or _MAGIC in content[:64]
        if not by_torch and content.startswith(_PICKLES) and content.endswith(pickle.STOP):
            raise TrainerError(_conversion(path, f"is a pickle, {_CODE}", _PICKLE)) from error
        if isinstance(error, pickle.UnpicklingError) and by_torch:
            named = re.search(r"GLOBAL ([\w.]+)", str(error))
            objects = (
                f"holds Python objects besides tensors ({named[1]})" if named else "is a pickle"
            )
            raise TrainerError(_conversion(path, f"{objects}, {_CODE}", _TORCH)) from error
        raise unreadable(path, error) from error


def _check_parts(path: Path) -> None:
    """Raises TrainerError if a checksum is wrong, as torch.load does not check them. All are 0 if
    the file was written without."""
    with zipfile.ZipFile(path) as parts:
        if any(part.CRC for part in parts.infolist()) and (damaged := parts.testzip()):
            raise TrainerError(
                f"{path} is damaged: its part {damaged} is not what was written. Copy or download "
                "it again."
            )


def unreadable(path: Path, error: Exception) -> TrainerError:
    """The error for a file that is damaged or that the system does not let us read."""
    reason = str(error).partition("\n")[0].rstrip(".")
    # torch's own message advises to unpickle the file, whatever it is: leave that out.
    if (
        not isinstance(error, OSError | SafetensorError | RuntimeError)
        or "weights" in reason.lower()
    ):
        reason = "damaged, or of a kind that is not known here"
    return TrainerError(f"{path} cannot be read as a file of weights ({reason}). {TAKEN}")


def _conversion(path: Path, what: str, read: str) -> str:
    """An error message with the command that converts a file. `what`: the reason of the refusal;
    `read`: a Python expression that loads the file sys.argv[1]."""
    file, out = path.absolute(), path.absolute().with_suffix(".weights.pt")
    python, *words = map(quoted, (sys.executable or "python", str(file), str(out)))
    code = (
        f"import pickle, sys, torch; {_TENSORS}; s = t({read}); "
        "torch.save(s, open(sys.argv[2], 'xb'))"
    )
    return (
        f"{path} {what}, so it is refused. If you trust it, convert it once, in the folder of the "
        f"project that wrote it, and name {out.name} instead: "
        f'{python} -c "{code}" {" ".join(words)}'
    )


def _dig(state: Any, path: Path) -> dict[str, Tensor]:
    """The tensors of the likeliest nested dictionary by their names in it, then all others by their
    full names."""
    tensors = _named(state)
    if not tensors:
        keys = few(tuple(map(str, state))) if isinstance(state, dict) else type(state).__name__
        raise TrainerError(
            f"{path} holds no named tensors, but {keys or 'nothing'}. They may be at the top, or "
            f"at any depth under names such as {', '.join(_NESTS[:SHOWN])}."
        )
    home: Nest = ()
    while nest := next((n for n in _NESTS if any(_is_in(p, (*home, n)) for p in tensors)), None):
        home = (*home, nest)
    inner = {p[len(home) :]: tensor for p, tensor in tensors.items() if _is_in(p, home)}
    beside = {p: tensor for p, tensor in tensors.items() if not _is_in(p, home)}
    if not _first_words(inner).isdisjoint(_first_words(beside)):
        inner, beside = tensors, {}
    return {".".join(names): tensor for names, tensor in (inner | beside).items()}


def _named(state: Any) -> dict[Nest, Tensor]:
    """All tensors that are values of dictionaries with string keys, by their paths of keys."""
    tensors: dict[Nest, Tensor] = {}
    seen: set[int] = set()  # a file may hold a dictionary that holds itself
    waiting: list[tuple[Nest, Any]] = [((), state)]
    while waiting:
        names, nest = waiting.pop()
        if not isinstance(nest, dict | list | tuple) or id(nest) in seen or len(names) > _DEEPEST:
            continue
        if isinstance(nest, dict) and "param_groups" in nest:  # an optimiser's state
            continue
        seen.add(id(nest))
        inner: list[tuple[Nest, Any]] = []
        for name, value in nest.items() if isinstance(nest, dict) else enumerate(nest):
            if not isinstance(value, Tensor):
                inner.append(((*names, str(name)), value))
            elif isinstance(name, str):
                tensors[*names, name] = value.detach()
        waiting += reversed(inner)
    return tensors


def _is_in(names: Nest, nest: Nest) -> bool:
    return len(names) > len(nest) and names[: len(nest)] == nest


def _first_words(tensors: Iterable[Nest]) -> set[str]:
    return {names[0].partition(".")[0] for names in tensors}


def few(names: tuple[str, ...]) -> str:
    """The first few of many names, for a message."""
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
