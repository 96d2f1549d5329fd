"""FILE.py:NAME to an encoder: the user's own Python file is run."""

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
_SEED = 0  # before the function is called, so that fresh weights are the same each time
Result = TypeVar("Result")


@dataclass(frozen=True)
class LoadedEncoder:
    """What --encoder named.

    Attributes:
        title: "nets.py:image", for messages and tables
        file: what describes it, for messages
        word: what --encoder takes, whatever the current folder is
        facts: hashes of what it was made of; part of a store's identity
        untrained: makes the same network as it is before it learns; None: no baseline
    """

    encoder: Encoder
    title: str
    file: Path
    word: str
    facts: dict[str, str]
    untrained: Callable[[], nn.Module] | None


def parse(text: str) -> tuple[Path, str]:
    """The file and the function's name of FORM. Raises EvaluateError if it is none."""
    path, _, name = text.rpartition(":")
    if not path.endswith(".py") or not name.isidentifier():
        raise EvaluateUsageError(
            f"--encoder is {text!r}; it takes {FORM}: a Python file and the name of a function in "
            "it that returns an ascnet.Encoder, or hf: and a model of Hugging Face."
        )
    return Path(path), name


def load_encoder(text: str) -> LoadedEncoder:
    """Run a Python file, and call a function of it without arguments, torch's seed set before. What
    lies in the file's folder can be imported there, after all that is installed. Raises
    EvaluateError if there is no such file or function, if one of them raises, or if it returns
    something else than an Encoder."""
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
            f"{path}:{name} returns a {type(encoder).__name__}; it has to return an "
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
    """Of all that its state dict holds, in the order of the names."""
    digest = sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(name.encode())
        if isinstance(value, torch.Tensor):
            digest.update(f"{value.dtype} {tuple(value.shape)}".encode())
            flat = value.detach().cpu().contiguous().reshape(-1)
            digest.update(flat.view(torch.uint8).numpy().tobytes())
        else:  # what a module says of itself (get_extra_state)
            digest.update(repr(value).encode())
    return digest.hexdigest()


def _run(source: bytes, path: Path) -> ModuleType:
    """The bytes that were read are what is run, so the hash is theirs."""
    module = ModuleType(f"ascnet_encoder_{path.stem}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # dataclasses in it look there
    exec(compile(source, str(path), "exec"), module.__dict__)
    return module


def _called(what: str, path: Path, call: Callable[[], Result]) -> Result:
    try:
        return call()
    except EvaluateError as error:  # a field of Encoder that is wrong
        raise EvaluateError(f"{path}: {error}") from error
    except (Exception, SystemExit) as error:
        raise EvaluateError(f"{what}: {what_was_raised(error, path)}.") from error


@contextmanager
def _folder_of(path: Path) -> Iterator[None]:
    """While it lasts, modules in the file's folder can be imported; none hides an installed one."""
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
