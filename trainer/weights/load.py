"""Load weights into backbones from files of torchvision, RSPNet, CoCLR, TCLR or other runs. Tensors
are matched by name and shape; either all are loaded or none."""

from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from trainer.backbones.all_backbones import BACKBONES, empty_backbone, make_backbone
from trainer.backbones.base import Backbone
from trainer.errors import TrainerError, TrainerUsageError
from trainer.weights.file_kind import is_safetensors
from trainer.weights.foreign import rename
from trainer.weights.read import SHOWN, few, read_tensors, unreadable

# Words in the names of momentum copies (`encoder_k`, `target.`, `model_ema`, `teacher.`) and of
# CoCLR's network for the other view (optical flow), `sampler`.
_COPY = {"k", "key", "target", "teacher", "momentum", "ema", "sampler"}
_COUNTER = "num_batches_tracked"


@dataclass(frozen=True)
class Loaded:
    """A report of what was loaded from a file.

    Attributes:
        loaded: number of tensors loaded
        expected: number of tensors that the backbone has
        prefix: prefix of the backbone's names in the file
        unused: names in the file that were not used: heads, momentum copies
        project: project whose names the file has, if they are not ours: "RSPNet"
        kind: kind of the file, if its name's extension suggests another
    """

    path: Path
    loaded: int
    expected: int
    prefix: str
    unused: tuple[str, ...]
    project: str = ""
    kind: str = ""

    def text(self) -> str:
        """The report as text: "loaded 120/120 tensors of FILE (RSPNet layout; prefix encoder_q.; 4
        of the file not used: ...)"."""
        notes = [self.kind] if self.kind else []
        notes += [f"{self.project} layout"] if self.project else []
        notes += [f"prefix {self.prefix}"] if self.prefix else []
        if self.unused:
            notes.append(f"{len(self.unused)} of the file not used: {few(self.unused)}")
        text = f"loaded {self.loaded}/{self.expected} tensors of {self.path}"
        return f"{text} ({'; '.join(notes)})" if notes else text


@dataclass(frozen=True)
class _Fit:
    """How the tensors of a file under one prefix fit a backbone."""

    prefix: str
    expected: int
    names: tuple[str, ...]  # the backbone's names with a tensor of the same shape in the file
    missing: tuple[str, ...]
    misshapen: tuple[str, ...]
    beyond: tuple[str, ...]  # further names of the file in the backbone's own parts

    @property
    def is_full(self) -> bool:
        # Left-over blocks of a deeper network, or gates, mean that the file is another network's.
        return len(self.names) == self.expected and not self.beyond


def load_weights(backbone: nn.Module, path: Path) -> Loaded:
    """Load a file into a backbone; every tensor of the backbone must be in it, with its shape.

    The names may have any prefix (`module.`, `encoder_q.`, `encoder.backbone.`): the one under
    which most tensors fit is used, and of an encoder and its momentum copy the encoder. All entries
    of the state dict count (120 for R3D-18). `num_batches_tracked`, which has no effect here and
    which old files lack, may be absent and then does not count (100 for R3D-18). Names of other
    projects are translated (foreign.py).

    Raises TrainerError, and leaves the backbone unchanged, if a tensor does not fit, or if the file
    holds more in the same parts: a deeper network, or one with gates.
    """
    return _load(backbone, path, *rename(read_tensors(path)), "--set model.backbone=")


def backbone_from_file(path: Path, backbone: str | None = None) -> tuple[Backbone, Loaded, str]:
    """Make the backbone whose weights a file holds. Returns it, the report, and its name.

    `backbone` is its name. With None it is recognised: our own exports name it in their metadata;
    of other files, all tensors of the backbone must fit, and if several backbones fit, the one that
    uses most of the file is chosen. Raises TrainerError for an unknown name, or if the file does
    not fit.
    """
    if backbone is not None and backbone not in BACKBONES:
        raise TrainerUsageError(f"--backbone is {backbone!r}; allowed: {', '.join(BACKBONES)}.")
    tensors, project = rename(read_tensors(path))
    name = backbone or _declared(path) or _fitting_best(tensors, path)
    made = empty_backbone(name)
    return made, _load(made, path, tensors, project, "--backbone "), name


def _declared(path: Path) -> str | None:
    """The backbone named in a safetensors file's metadata, if it is one of ours."""
    try:
        if not path.is_file() or not is_safetensors(path):
            return None
        with safe_open(path, "pt") as file:
            name = (file.metadata() or {}).get("backbone")
    except (SafetensorError, OSError) as error:
        raise unreadable(path, error) from error
    return name if name in BACKBONES else None


def _load(
    backbone: nn.Module, path: Path, tensors: dict[str, Tensor], project: str, option: str
) -> Loaded:
    state = backbone.state_dict()
    fit = _best_fit(state, tensors)
    if not fit.is_full:
        raise TrainerError(_misfit(fit, state, tensors, path, option))
    used = {fit.prefix + name: tensors[fit.prefix + name] for name in fit.names}
    if bad := [name for name, tensor in used.items() if _storage(tensor)]:
        raise TrainerError(
            f"{path} holds tensors whose numbers cannot be copied ({len(bad)} of them), such as "
            f"{bad[0]} ({_storage(used[bad[0]])}). Save the network again with its numbers in "
            "dense tensors."
        )
    backbone.load_state_dict(state | dict(zip(fit.names, used.values(), strict=True)))
    unused = [name for name in tensors if name not in used]
    # Those beside the backbone under the same prefix, such as its head, come first.
    unused.sort(key=lambda name: not name.startswith(fit.prefix))
    return Loaded(
        path, len(fit.names), fit.expected, fit.prefix, tuple(unused), project, _kind(path)
    )


def _kind(path: Path) -> str:
    if is_safetensors(path) == (path.suffix == ".safetensors"):
        return ""
    return "a safetensors file" if is_safetensors(path) else "a file by torch.save"


def _best_fit(state: dict[str, Tensor], tensors: dict[str, Tensor]) -> _Fit:
    counts: Counter[str] = Counter({"": 0})
    for name, tensor in tensors.items():
        for start in (0, *(i + 1 for i, letter in enumerate(name) if letter == ".")):
            known = state.get(name[start:])
            if known is not None and known.shape == tensor.shape:
                counts[name[:start]] += 1
    prefix = max(counts, key=lambda p: (counts[p], not _is_copy(p), -len(p)))
    expected = [n for n in state if prefix + n in tensors or not n.endswith(_COUNTER)]
    present = [n for n in expected if prefix + n in tensors]
    names = tuple(n for n in present if tensors[prefix + n].shape == state[n].shape)
    parts = tuple({prefix + n.partition(".")[0] + "." for n in state})
    return _Fit(
        prefix=prefix,
        expected=len(expected),
        names=names,
        missing=tuple(n for n in expected if prefix + n not in tensors),
        misshapen=tuple(n for n in present if n not in names),
        beyond=tuple(
            n for n in tensors if n.startswith(parts) and n.removeprefix(prefix) not in state
        ),
    )


def _is_copy(prefix: str) -> bool:
    return not _COPY.isdisjoint(prefix.replace(".", "_").split("_"))


def _misfit(
    fit: _Fit, state: dict[str, Tensor], tensors: dict[str, Tensor], path: Path, option: str
) -> str:
    """The error message: how much fits, what does not, and which backbone would fit fully."""
    shapes = [
        f"{name} ({_shape(tensors[fit.prefix + name])}, not {_shape(state[name])})"
        for name in fit.misshapen[:SHOWN]
    ]
    wrong = [f"missing are {few(fit.missing)}"] if fit.missing else []
    if shapes:
        wrong.append(f"of another shape are {few((*shapes, *fit.misshapen[SHOWN:]))}")
    if fit.beyond:
        wrong.append(f"the backbone lacks {few(fit.beyond)}, which are of another network")
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
    """The backbones that a file fits fully, in ascending order of their number of tensors; those
    that fit only a momentum copy come first."""
    fits = {name: _best_fit(_shapes(name), tensors) for name in BACKBONES}
    full = {name: fit for name, fit in fits.items() if fit.is_full}
    return sorted(full, key=lambda n: (not _is_copy(full[n].prefix), full[n].expected))


@cache
def _shapes(backbone: str) -> dict[str, Tensor]:
    """A backbone's state dict on the meta device. Cached, as building all takes a second."""
    with torch.device("meta"):
        return make_backbone(backbone).state_dict()


def _fitting_best(tensors: dict[str, Tensor], path: Path) -> str:
    if backbones := _fitting(tensors):
        return backbones[-1]
    raise TrainerError(
        f"{path} holds no backbone of this version: its {len(tensors)} tensors "
        f"({few(tuple(tensors))}) fit none of {', '.join(BACKBONES)} fully. --backbone NAME tells "
        "what one of them lacks."
    )


def _storage(tensor: Tensor) -> str:
    """Why a tensor's values cannot be copied into a dense one; "" if they can."""
    if tensor.is_meta:
        return "on torch's meta device: only its shape was saved"
    if tensor.is_quantized:
        return "quantised"
    return "" if tensor.layout == torch.strided else str(tensor.layout).removeprefix("torch.")


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a single number"
