"""Load an encoder that a user's Python file describes (FILE.py:NAME). This runs the file."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from types import FunctionType, ModuleType
from typing import TypeVar

import torch
from torch import nn

from evaluate.errors import EvaluateError, EvaluateUsageError
from evaluate.own_encoder import Encoder, what_was_raised

FORM = "FILE.py:NAME"
_SEED = 0  # set before the function is called, so that random weights are reproducible
Result = TypeVar("Result")


@dataclass(frozen=True)
class LoadedEncoder:
    """An encoder named with --encoder.

    Attributes:
        title: "nets.py:image", for messages and tables
        file: the file or folder that describes it, for messages
        word: value of --encoder with an absolute path
        facts: hashes of its files; part of a store's identity
        untrained: makes the network as it is before training; None: no baseline
    """

    encoder: Encoder
    title: str
    file: Path
    word: str
    facts: dict[str, str]
    untrained: Callable[[], nn.Module] | None


def parse(text: str) -> tuple[Path, str]:
    """Split FILE.py:NAME into the path and the function's name. Raises EvaluateError if `text` does
    not have this form."""
    path, _, name = text.rpartition(":")
    if not path.endswith(".py") or not name.isidentifier():
        raise EvaluateUsageError(
            f"--encoder is {text!r}; it takes {FORM}, a Python file and the name of a function in "
            "it that returns an ascnet.Encoder, or hf:MODEL, a directory or name of a Hugging Face "
            "model."
        )
    return Path(path), name


def load_encoder(text: str) -> LoadedEncoder:
    """Run a Python file and call the named function without arguments, after seeding torch. The
    file can import modules from its own folder; installed packages take precedence.

    Raises EvaluateError if there is no such file or function, if the code raises an exception, or
    if the function does not return an Encoder.
    """
    path, name = parse(text)
    try:
        source = path.read_bytes()
    except OSError as error:
        raise EvaluateError(
            f"--encoder: {path} cannot be read ({error.strerror}); name the Python file that "
            "describes your encoder."
        ) from error
    with _folder_of(path):
        module = _called(f"{path} cannot be run", path, lambda: _run(source, path))
        function = getattr(module, name, None)
        if not callable(function):
            raise EvaluateError(_no_function(module, path, name))
        torch.manual_seed(_SEED)
        encoder = _called(f"{path}:{name} cannot be called without arguments", path, function)
    if not isinstance(encoder, Encoder):
        raise EvaluateError(
            f"{path}:{name} returns a {type(encoder).__name__}; it must return an "
            "ascnet.Encoder(module, frames=..., size=...)."
        )
    untrained = encoder.untrained
    return LoadedEncoder(
        encoder,
        f"{path.name}:{name}",
        path,
        f"{path.resolve()}:{name}",
        {"source_sha256": sha256(source).hexdigest()},
        None if untrained is None else lambda: untrained,
    )


def weights_sha256(module: nn.Module) -> str:
    """SHA-256 (hexadecimal) of a module's state dict, in the order of the names."""
    digest = sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(name.encode())
        if isinstance(value, torch.Tensor):
            digest.update(f"{value.dtype} {tuple(value.shape)}".encode())
            flat = value.detach().cpu().contiguous().reshape(-1)
            digest.update(flat.view(torch.uint8).numpy().tobytes())
        else:  # the result of a module's get_extra_state
            digest.update(repr(value).encode())
    return digest.hexdigest()


def _run(source: bytes, path: Path) -> ModuleType:
    """Execute the bytes that are hashed, rather than read the file twice."""
    module = ModuleType(f"ascnet_encoder_{path.stem}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # dataclasses look it up there
    exec(compile(source, str(path), "exec"), module.__dict__)
    return module


def _called(what: str, path: Path, call: Callable[[], Result]) -> Result:
    try:
        return call()
    except EvaluateError as error:  # an invalid field of Encoder
        raise EvaluateError(f"{path}: {error}") from error
    except (Exception, SystemExit) as error:
        raise EvaluateError(f"{what}: {what_was_raised(error, path)}.") from error


@contextmanager
def _folder_of(path: Path) -> Iterator[None]:
    """Make modules in the file's folder importable for a while; installed packages take
    precedence."""
    folder = str(path.resolve().parent)
    sys.path.append(folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


def _no_function(module: ModuleType, path: Path, name: str) -> str:
    functions = [
        known
        for known, value in vars(module).items()
        if isinstance(value, FunctionType)
        and value.__module__ == module.__name__
        and not known.startswith("_")
    ]
    there = f"its functions are {', '.join(functions)}" if functions else "it has no function"
    return f"{path} has no function {name}: {there}."
