"""Weights from elsewhere: files of torchvision, RSPNet, CoCLR, TCLR, other runs. Found by name and
shape, loaded whole or not at all, and never unpickled."""

import pickle
import re
import sys
import warnings
import zipfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from builder.command_line import quoted
from trainer.backbones import BACKBONES, make_backbone
from trainer.backbones.base import Backbone
from trainer.errors import TrainerError
from trainer.run.checkpoint import list_checkpoints
from trainer.run.torch_archive import what_it_fills
from trainer.weights.file_kind import TAKEN, is_safetensors, is_torchscript, is_zip, something_else
from trainer.weights.foreign import rename

# Where files keep their tensors, the likelier first; they may be anywhere else, too.
_NESTS = (
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
)
# Words in the names of a momentum copy: `encoder_k`, `target.`, `model_ema`, `teacher.`; and
# CoCLR's network of the other view (optical flow), `sampler`.
_COPY = {"k", "key", "target", "teacher", "momentum", "ema", "sampler"}
_COUNTER = "num_batches_tracked"
_SHOWN = 3  # names in a message
_DEEPEST = 100  # nests in one another; real files have a few
_CODE = "and reading it would run code that the file names"
# latin1: files by Python 2, such as Caffe2's, hold numbers as text.
_TORCH = "torch.load(sys.argv[1], map_location='cpu', weights_only=False, encoding='latin1')"
_TORCHSCRIPT = "torch.jit.load(sys.argv[1], map_location='cpu')"
_PICKLE = "pickle.load(open(sys.argv[1], 'rb'), encoding='latin1')"
_MAGIC = b"l\xfc\x9cF\xf9 j\xa8P\x19"  # in the first bytes of what torch.save wrote before 1.6
_PICKLES = tuple(pickle.PROTO + bytes([n]) for n in range(2, pickle.HIGHEST_PROTOCOL + 1))
# Tensors of whatever was unpickled, under the names they have there. Methods are looked for in the
# type: many a dictionary of settings has, or says it has, an attribute of any name, and a class is
# no object. `o`: what `s` lies in, for some things hold themselves. For a shell: no ", $, ` or !.
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


@dataclass(frozen=True)
class Loaded:
    """What of a file went into a backbone."""

    path: Path
    loaded: int  # tensors
    expected: int  # tensors
    prefix: str  # what stood before the backbone's own names
    unused: tuple[str, ...]  # names of the file that the backbone has no use for: heads, copies
    project: str = ""  # whose names the file had, if they were not ours: "RSPNet"
    kind: str = ""  # what the file is, if its name says otherwise

    def text(self) -> str:
        """loaded 120/120 tensors of FILE (RSPNet layout; prefix encoder_q.; 4 of the file not used:
        ...)"""
        notes = [self.kind] if self.kind else []
        notes += [f"{self.project} layout"] if self.project else []
        notes += [f"prefix {self.prefix}"] if self.prefix else []
        if self.unused:
            notes.append(f"{len(self.unused)} of the file not used: {_few(self.unused)}")
        text = f"loaded {self.loaded}/{self.expected} tensors of {self.path}"
        return f"{text} ({'; '.join(notes)})" if notes else text


@dataclass(frozen=True)
class _Fit:
    """How the tensors of a file that have one prefix fit a backbone."""

    prefix: str
    expected: int
    names: tuple[str, ...]  # of the backbone, those that fit
    missing: tuple[str, ...]
    misshapen: tuple[str, ...]
    beyond: tuple[str, ...]  # what the file has more in the backbone's own parts

    @property
    def is_full(self) -> bool:
        # Without the blocks of a deeper network, or without gates, the rest is another network.
        return len(self.names) == self.expected and not self.beyond


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, or of one by `torch.save`, on the CPU, by name. What it
    is says its content, not its name.

    If they are nested, as in {"epoch": 3, "state_dict": {...}}, the inner names come back; those of
    what lies beside it follow, after the name of their nest: "ema.conv1.weight". States of
    optimisers do not count. Raises TrainerError if there is no such file, if it cannot be read
    without unpickling, or if it holds no named tensors.
    """
    if not path.is_file():
        found = list_checkpoints(path)
        hint = f"Its newest checkpoint is {found[-1]}." if found else "Check the path."
        if path.is_symlink() and not path.exists():
            hint = f"It is a link to {path.readlink()}, which is not there: copy or fetch that."
        raise TrainerError(f"{path} is no file of weights. {hint}")
    try:
        if what := something_else(path):
            raise TrainerError(f"{path} cannot be read as a file of weights: it is {what}")
        if is_safetensors(path):
            return load_file(path)
    except (SafetensorError, OSError) as error:
        raise _unreadable(path, error) from error
    return _dig(_unpickled_safely(path), path)


def load_weights(backbone: nn.Module, path: Path) -> Loaded:
    """Load a file into a backbone; every tensor of the backbone must be there, in its shape.

    Before the backbone's names the file may have any prefix (`module.`, `encoder_q.`,
    `encoder.backbone.`); the one under which most tensors fit is taken, and of an encoder and its
    momentum copy the encoder. All entries of the state dict count, which are 120 for R3D-18.
    `num_batches_tracked`, which does nothing here and which old files lack, may be absent and then
    does not count: 100 for R3D-18. Names of other projects become ours (foreign.py).

    Raises TrainerError, and leaves the backbone as it was, if not all fit, or if the file holds
    more of the same parts: a deeper network, or one with gates.
    """
    return _load(backbone, path, *rename(read_tensors(path)), "--set model.backbone=")


def backbone_of(path: Path) -> str:
    """The name of the backbone that a file holds, as `load_weights` would load it.

    Our own exports say it (their metadata); of any other file, all tensors of a backbone must fit.
    If those of several do, it is the one that uses most of the file. Raises TrainerError if none.
    """
    return _declared(path) or _fitting_best(rename(read_tensors(path))[0], path)


def backbone_from_file(path: Path, backbone: str | None = None) -> tuple[Backbone, Loaded, str]:
    """The backbone that a file holds, with its weights; what was loaded; and the backbone's name.

    `backbone`: its name; None: found by `backbone_of`. Raises TrainerError if there is no such
    backbone, or if the file does not fit it.
    """
    if backbone is not None and backbone not in BACKBONES:
        raise TrainerError(f"--backbone is {backbone!r}; allowed: {', '.join(BACKBONES)}.")
    tensors, project = rename(read_tensors(path))
    name = backbone or _declared(path) or _fitting_best(tensors, path)
    made = make_backbone(name)
    return made, _load(made, path, tensors, project, "--backbone "), name


def _declared(path: Path) -> str | None:
    """The backbone that the metadata of a safetensors file name, if it is one of ours."""
    try:
        if not path.is_file() or not is_safetensors(path):
            return None
        with safe_open(path, "pt") as file:
            name = (file.metadata() or {}).get("backbone")
    except (SafetensorError, OSError) as error:
        raise _unreadable(path, error) from error
    return name if name in BACKBONES else None


def _load(
    backbone: nn.Module, path: Path, tensors: dict[str, Tensor], project: str, option: str
) -> Loaded:
    own = backbone.state_dict()
    fit = _best_fit(own, tensors)
    if not fit.is_full:
        raise TrainerError(_misfit(fit, own, tensors, path, option))
    if odd := [n for n in fit.names if not _is_plain(tensors[fit.prefix + n])]:
        raise TrainerError(
            f"{path} holds tensors whose numbers cannot be copied ({len(odd)} of them), such as "
            f"{fit.prefix + odd[0]} ({_storage(tensors[fit.prefix + odd[0]])}). Save the network "
            "again with its numbers in dense tensors."
        )
    backbone.load_state_dict(own | {name: tensors[fit.prefix + name] for name in fit.names})
    used = {fit.prefix + name for name in fit.names}
    unused = [name for name in tensors if name not in used]
    # What stood beside the backbone, such as its head, first.
    unused.sort(key=lambda name: not name.startswith(fit.prefix))
    return Loaded(
        path, len(fit.names), fit.expected, fit.prefix, tuple(unused), project, _kind(path)
    )


def _kind(path: Path) -> str:
    if is_safetensors(path) == (path.suffix == ".safetensors"):
        return ""
    return "a safetensors file" if is_safetensors(path) else "a file by torch.save"


def _unpickled_safely(path: Path) -> Any:
    zipped = False
    try:
        zipped = is_zip(path)
        if what := what_it_fills(path):
            raise TrainerError(
                f"{path} is refused: it {what}, as no weights do. Take it from where it is known "
                "to be whole, or do not use it."
            )
        if zipped:
            _check_parts(path)
            if is_torchscript(path):
                raise TrainerError(_conversion(path, "is a TorchScript program", _TORCHSCRIPT))
        # Of an open file, torch does not look at the name.
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of what it may not be able to read
            return torch.load(file, map_location="cpu", weights_only=True)
    except TrainerError:
        raise
    except OSError as error:
        raise _unreadable(path, error) from error
    except Exception as error:  # whatever a damaged file makes them raise
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
        raise _unreadable(path, error) from error


def _check_parts(path: Path) -> None:
    """torch.load does not look at checksums. All are 0 if the writer left them out."""
    with zipfile.ZipFile(path) as parts:
        if any(part.CRC for part in parts.infolist()) and (damaged := parts.testzip()):
            raise TrainerError(
                f"{path} is damaged: its part {damaged} is not what was written. Copy or download "
                "it again."
            )


def _unreadable(path: Path, error: Exception) -> TrainerError:
    reason = str(error).partition("\n")[0].rstrip(".")
    # torch's own advice is to unpickle the file, whatever it is.
    if (
        not isinstance(error, OSError | SafetensorError | RuntimeError)
        or "weights" in reason.lower()
    ):
        reason = "damaged, or of a kind that is not known here"
    return TrainerError(f"{path} cannot be read as a file of weights ({reason}). {TAKEN}")


def _conversion(path: Path, what: str, read: str) -> str:
    """`read`: an expression for what the file sys.argv[1] holds."""
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
    found = _named(state)
    if not found:
        keys = _few(tuple(map(str, state))) if isinstance(state, dict) else type(state).__name__
        raise TrainerError(
            f"{path} holds no named tensors, but {keys or 'nothing'}. They may be at the top, or "
            f"at any depth under names such as {', '.join(_NESTS[:_SHOWN])}."
        )
    home: tuple[str, ...] = ()  # where the likeliest of them are
    while nest := next((n for n in _NESTS if any(_is_in(p, (*home, n)) for p in found)), None):
        home = (*home, nest)
    inner = {p[len(home) :]: tensor for p, tensor in found.items() if _is_in(p, home)}
    beside = {p: tensor for p, tensor in found.items() if not _is_in(p, home)}
    if not _first_words(inner).isdisjoint(_first_words(beside)):
        inner, beside = found, {}
    return {".".join(place): tensor for place, tensor in (inner | beside).items()}


def _named(state: Any) -> dict[tuple[str, ...], Tensor]:
    """All tensors that have a name in a dictionary, by the names that lead to them."""
    found: dict[tuple[str, ...], Tensor] = {}
    seen: set[int] = set()  # a file may hold a dictionary that holds itself
    waiting: list[tuple[tuple[str, ...], Any]] = [((), state)]
    while waiting:
        place, own = waiting.pop()
        if not isinstance(own, dict | list | tuple) or id(own) in seen or len(place) > _DEEPEST:
            continue
        if isinstance(own, dict) and "param_groups" in own:  # an optimiser's state
            continue
        seen.add(id(own))
        inner: list[tuple[tuple[str, ...], Any]] = []
        for name, value in own.items() if isinstance(own, dict) else enumerate(own):
            at = (*place, str(name))
            if not isinstance(value, Tensor):
                inner.append((at, value))
            elif isinstance(name, str):
                found[at] = value.detach()
        waiting += reversed(inner)
    return found


def _is_in(place: tuple[str, ...], nest: tuple[str, ...]) -> bool:
    return len(place) > len(nest) and place[: len(nest)] == nest


def _first_words(places: dict[tuple[str, ...], Tensor]) -> set[str]:
    return {place[0].partition(".")[0] for place in places}


def _best_fit(own: dict[str, Tensor], tensors: dict[str, Tensor]) -> _Fit:
    counts: Counter[str] = Counter({"": 0})
    for name, tensor in tensors.items():
        for start in (0, *(i + 1 for i, letter in enumerate(name) if letter == ".")):
            known = own.get(name[start:])
            if known is not None and known.shape == tensor.shape:
                counts[name[:start]] += 1
    prefix = max(counts, key=lambda p: (counts[p], not _is_copy(p), -len(p)))
    expected = [n for n in own if prefix + n in tensors or not n.endswith(_COUNTER)]
    there = [n for n in expected if prefix + n in tensors]
    names = [n for n in there if tensors[prefix + n].shape == own[n].shape]
    parts = tuple({prefix + n.partition(".")[0] + "." for n in own})
    beyond = [n for n in tensors if n.startswith(parts) and n.removeprefix(prefix) not in own]
    return _Fit(
        prefix=prefix,
        expected=len(expected),
        names=tuple(names),
        missing=tuple(n for n in expected if prefix + n not in tensors),
        misshapen=tuple(n for n in there if tensors[prefix + n].shape != own[n].shape),
        beyond=tuple(beyond),
    )


def _is_copy(prefix: str) -> bool:
    return not _COPY.isdisjoint(prefix.replace(".", "_").split("_"))


def _misfit(
    fit: _Fit, own: dict[str, Tensor], tensors: dict[str, Tensor], path: Path, option: str
) -> str:
    """In words: how much fits, what does not, and which backbone would fit fully."""
    shapes = [
        f"{name} ({_shape(tensors[fit.prefix + name])}, not {_shape(own[name])})"
        for name in fit.misshapen[:_SHOWN]
    ]
    wrong = [f"missing are {_few(fit.missing)}"] if fit.missing else []
    if shapes:
        wrong.append(f"of another shape are {_few((*shapes, *fit.misshapen[_SHOWN:]))}")
    if fit.beyond:
        wrong.append(f"the backbone lacks {_few(fit.beyond)}, which are of another network")
    under = f" under the prefix {fit.prefix}" if fit.prefix else ""
    fitting = _fitting(tensors)
    advice = (
        f"It fits {' and '.join(fitting)} fully: {option}{fitting[-1]}."
        if fitting
        else f"Nor does it fit another backbone of this version: {', '.join(BACKBONES)}."
    )
    return (
        f"{path} fits {len(fit.names)} of the backbone's {fit.expected} tensors{under}, so nothing "
        f"was loaded; {'; '.join(wrong)}. {advice}"
    )


def _fitting(tensors: dict[str, Tensor]) -> list[str]:
    """The backbones whose tensors all are there, the one with the most of them last; before it
    those that only a momentum copy holds."""
    with torch.device("meta"):
        fits = {name: _best_fit(make_backbone(name).state_dict(), tensors) for name in BACKBONES}
    full = {name: fit for name, fit in fits.items() if fit.is_full}
    return sorted(full, key=lambda n: (not _is_copy(full[n].prefix), full[n].expected))


def _fitting_best(tensors: dict[str, Tensor], path: Path) -> str:
    if found := _fitting(tensors):
        return found[-1]
    raise TrainerError(
        f"{path} holds no backbone of this version: its {len(tensors)} tensors "
        f"({_few(tuple(tensors))}) fit none of {', '.join(BACKBONES)} fully. --backbone NAME tells "
        "what one of them lacks."
    )


def _is_plain(tensor: Tensor) -> bool:
    return tensor.layout == torch.strided and not tensor.is_quantized and not tensor.is_meta


def _storage(tensor: Tensor) -> str:
    """What keeps a tensor from being plain."""
    if tensor.is_meta:
        return "on torch's meta device: only its shape was saved"
    return "quantised" if tensor.is_quantized else str(tensor.layout).removeprefix("torch.")


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a single number"


def _few(names: tuple[str, ...]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
