"""Weights from elsewhere: files of torchvision, RSPNet, CoCLR, TCLR, other runs. Found by name and
shape, loaded whole or not at all, and never unpickled."""

import pickle
import zipfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from trainer.backbones import BACKBONES, make_backbone
from trainer.backbones.base import Backbone
from trainer.checkpoint import list_checkpoints
from trainer.errors import TrainerError
from trainer.foreign import rename

# Where files keep their tensors, the likelier first.
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


@dataclass(frozen=True)
class Loaded:
    """What of a file went into a backbone."""

    path: Path
    loaded: int  # tensors
    expected: int  # tensors
    prefix: str  # what stood before the backbone's own names
    unused: tuple[str, ...]  # names of the file that the backbone has no use for: heads, copies
    project: str = ""  # whose names the file had, if they were not ours: "RSPNet"

    def text(self) -> str:
        """loaded 120/120 tensors of FILE (RSPNet layout; prefix encoder_q.; 4 of the file not used:
        ...)"""
        notes = [f"{self.project} layout"] if self.project else []
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
    """The tensors of a `.safetensors` file, or of one by `torch.save`, on the CPU, by name.

    If they are nested, as in {"epoch": 3, "state_dict": {...}}, the inner names come back. Raises
    TrainerError if there is no such file, if it cannot be read without unpickling, or if it holds
    no named tensors.
    """
    if not path.is_file():
        found = list_checkpoints(path)
        hint = f"Its newest checkpoint is {found[-1]}." if found else "Check the path."
        raise TrainerError(f"{path} is no file of weights. {hint}")
    if path.suffix == ".safetensors":
        try:
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
    does not count: 100 for R3D-18. Names of other projects become ours (trainer/foreign.py).

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
    if path.suffix != ".safetensors" or not path.is_file():
        return None
    try:
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
    backbone.load_state_dict(own | {name: tensors[fit.prefix + name] for name in fit.names})
    used = {fit.prefix + name for name in fit.names}
    unused = [name for name in tensors if name not in used]
    # What stood beside the backbone, such as its head, first.
    unused.sort(key=lambda name: not name.startswith(fit.prefix))
    return Loaded(path, len(fit.names), fit.expected, fit.prefix, tuple(unused), project)


def _unpickled_safely(path: Path) -> Any:
    is_zip = False
    try:
        if is_zip := zipfile.is_zipfile(path):
            _check_parts(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except TrainerError:
        raise
    except OSError as error:
        raise _unreadable(path, error) from error
    except Exception as error:  # whatever a damaged file makes them raise
        with path.open("rb") as file:
            is_pickle = is_zip or file.read(1) == pickle.PROTO
        if is_pickle and isinstance(error, pickle.UnpicklingError):
            raise TrainerError(_refusal(path)) from error
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
    reason = (str(error) or type(error).__name__).partition("\n")[0].rstrip(".")
    return TrainerError(
        f"{path} cannot be read as a file of weights ({reason}). It takes .safetensors, or what "
        "torch.save wrote of a state dict."
    )


def _refusal(path: Path) -> str:
    return (
        f"{path} holds Python objects besides tensors, and reading those would run code that the "
        "file names, so it is refused; if you trust it, convert it once with "
        f"""python -c "import torch; s = torch.load({str(path)!r}, map_location='cpu', """
        "weights_only=False); s = s.get('state_dict', s); torch.save({k: v for k, v in s.items() "
        f"""if torch.is_tensor(v)}}, {str(path.with_suffix(".weights.pt"))!r})"."""
    )


def _dig(state: Any, path: Path) -> dict[str, Tensor]:
    while isinstance(state, dict):
        tensors = {
            name: value.detach()
            for name, value in state.items()
            if isinstance(name, str) and isinstance(value, Tensor)
        }
        if tensors:
            return tensors
        inner = [state[name] for name in _NESTS if isinstance(state.get(name), dict)]
        if not inner:
            break
        state = inner[0]
    keys = _few(tuple(map(str, state))) if isinstance(state, dict) else type(state).__name__
    raise TrainerError(
        f"{path} holds no named tensors, but {keys or 'nothing'}. They may be at the top, or under "
        f"one of {', '.join(_NESTS)}."
    )


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
    """The backbones whose tensors all are there, the one with the most of them last."""
    with torch.device("meta"):
        fits = {name: _best_fit(make_backbone(name).state_dict(), tensors) for name in BACKBONES}
    return sorted((name for name in fits if fits[name].is_full), key=lambda n: fits[n].expected)


def _fitting_best(tensors: dict[str, Tensor], path: Path) -> str:
    if found := _fitting(tensors):
        return found[-1]
    raise TrainerError(
        f"{path} holds no backbone of this version: its {len(tensors)} tensors "
        f"({_few(tuple(tensors))}) fit none of {', '.join(BACKBONES)} fully. --backbone NAME tells "
        "what one of them lacks."
    )


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a single number"


def _few(names: tuple[str, ...]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
