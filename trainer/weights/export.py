"""A trained backbone as a file for other programs: torchvision, safetensors, ONNX."""

import importlib
import io
import json
import logging
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import nn

from builder.atomic import give_name, write_partial
from builder.command_line import in_python
from trainer.backbones.base import Backbone
from trainer.config.settings import Config
from trainer.data.augment import MEAN, STD
from trainer.errors import TrainerError, TrainerUsageError
from trainer.run.checkpoint import TrainedBackbone, load_backbone
from trainer.run.provenance import code
from trainer.weights.formats import FORMATS

# Models of torchvision.models.video with our keys, and what they call their classifier.
TORCHVISION = {
    "r3d18": ("r3d_18", "fc"),
    "r2plus1d18": ("r2plus1d_18", "fc"),
    "s3d": ("s3d", "classifier"),
}
# Rounding of float32 over some twenty layers differs by about 1e-6 of the largest feature; a wrong
# layer or weight by about 1. The bound is in between.
_BOUND = 1e-3


@dataclass(frozen=True)
class Exported:
    """The files that an export wrote.

    Attributes:
        text: what is in the file and how to use it
    """

    path: Path
    text: str


class PooledBackbone(nn.Module):
    """float32 N x 3 x T x H x W to float32 N x channels, the mean over time and place."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.backbone(clips).mean(dim=(2, 3, 4))
        return features


def export(
    run: Path, to: str, out: Path | None = None, *, half: bool = False, overwrite: bool = False
) -> Exported:
    """Write the backbone of a run's newest checkpoint, as one of FORMATS.

    `out`: the file, which appears whole or not at all; None: `<backbone>-step<step>` in the run.
    `half`: weights in float16; for safetensors only.
    Raises TrainerError if the run has no checkpoint, if there is such a file and it is not to be
    overwritten, if the format cannot hold the backbone, if a weight is too large for 16 bits, or if
    an ONNX file computes other features.
    """
    if to not in FORMATS:
        raise TrainerUsageError(f"--to is {to!r}; allowed: {', '.join(FORMATS)}.")
    if half and to != "safetensors":
        raise TrainerUsageError(f"--half goes with --to safetensors, not with --to {to}.")
    trained = load_backbone(run)
    name = trained.config.model.backbone
    path = out or run / f"{name}-step{trained.step}{FORMATS[to]}"
    if path.is_dir():
        raise TrainerError(f"{path} is a folder. Name a file, such as {path / name}{FORMATS[to]}.")
    if path.exists() and not overwrite:
        raise TrainerError(f"{path} is there already. Add --overwrite, or name another with --out.")
    if to == "torchvision":
        content, text = _torchvision(trained, path)
    elif to == "safetensors":
        content, text = _safetensors(trained, path, half)
    else:
        content, text = _onnx(trained)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = write_partial(path, content)
    try:
        if to == "onnx":
            text += _check(partial, trained)
        give_name(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return Exported(path, f"{text}\n{_input(trained.config)}")


def facts(trained: TrainedBackbone) -> dict[str, str]:
    """What an exported file says of itself."""
    data = trained.config.data
    colours = {"mean": json.dumps(MEAN), "std": json.dumps(STD)}
    if data.normalise != "fixed":
        colours = {"normalise": data.normalise}
    return {
        "backbone": trained.config.model.backbone,
        "channels": str(trained.backbone.channels),
        "checkpoint_sha256": trained.sha256,
        "code": code(),
        "frames": str(data.frames),
        "recipe": trained.config.recipe,
        "size": str(data.size),
        "step": str(trained.step),
        **colours,
    }


def _input(config: Config) -> str:
    data, colours = config.data, f"less the mean {MEAN}, over the deviation {STD}"
    if data.normalise != "fixed":
        of_what = "clip" if data.normalise == "clip" else "pixel of a clip"
        colours = f"each {of_what} less its own mean, over the clip's own deviation"
    return (
        f"Clips go in as float32 N x 3 x {data.frames} x {data.size} x {data.size}, RGB in [0, 1], "
        f"{colours}."
    )


def _torchvision(trained: TrainedBackbone, path: Path) -> tuple[bytes, str]:
    name = trained.config.model.backbone
    if name not in TORCHVISION:
        raise TrainerUsageError(
            f"torchvision has no {name}; it has {', '.join(TORCHVISION)}. Use --to safetensors or "
            "--to onnx, which take any backbone."
        )
    twin, head = TORCHVISION[name]
    content = io.BytesIO()
    torch.save(trained.backbone.state_dict(), content)
    return content.getvalue(), (
        f"The {len(trained.backbone.state_dict())} tensors of torchvision.models.video.{twin}. Its "
        f"classifier ({head}) is not among them, so:\n"
        f"  model = torchvision.models.video.{twin}()\n"
        f"  model.load_state_dict(torch.load({in_python(path)}), strict=False)"
    )


def _safetensors(trained: TrainedBackbone, path: Path, half: bool) -> tuple[bytes, str]:
    tensors = trained.backbone.state_dict()
    if half:
        tensors = {name: _halved(name, tensor) for name, tensor in tensors.items()}
    content = safetensors.torch.save(tensors, metadata=facts(trained) | {"format": "pt"})
    return _sorted_metadata(content), (
        f"The {len(tensors)} tensors of {trained.config.model.backbone}, with what they come from "
        f"in the metadata:\n  tensors = safetensors.torch.load_file({in_python(path)})"
    )


def _halved(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """A weight in float16; vectors, such as batch-norm statistics, which are few, as they are.
    Raises TrainerError if a number is too large."""
    if tensor.dim() < 2:
        return tensor
    halved = tensor.half()
    if not bool(halved.isfinite().all()):
        raise TrainerError(
            f"{name} has a weight of {float(tensor.abs().max()):g}, and 16 bits hold up to 65504. "
            "Export without --half."
        )
    return halved


def _sorted_metadata(content: bytes) -> bytes:
    """The library writes metadata in random order; sorted, the same run gives the same bytes."""
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the tensors stay aligned
    return len(text).to_bytes(8, "little") + text + content[end:]


def _onnx(trained: TrainedBackbone) -> tuple[bytes, str]:
    """The model, clips to features; its batch is free, the other sides are the recipe's."""
    onnx = _optional("onnx")
    _optional("onnxscript")  # torch's exporter wants it
    _optional("onnxruntime")
    # Two clips, for torch would take a batch of one for a constant.
    example = _clips(trained.config, 2)
    exporter = logging.getLogger("torch.onnx")
    level = exporter.level
    exporter.setLevel(logging.ERROR)  # it warns of operators that nobody uses here
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                PooledBackbone(trained.backbone).eval(),
                (example,),
                input_names=["clips"],
                output_names=["features"],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                dynamo=True,
                verbose=False,
            )
    finally:
        exporter.setLevel(level)
    assert program is not None
    model = program.model_proto
    for node in model.graph.node:
        del node.metadata_props[:]  # stack traces, with the paths of this machine
    onnx.helper.set_model_props(model, facts(trained))
    return model.SerializeToString(), (
        f"{trained.config.model.backbone} from clips to features, N x {trained.backbone.channels}, "
        "the mean over time and place. "
    )


def _check(path: Path, trained: TrainedBackbone) -> str:
    """How far the features of the ONNX file are from ours. Raises TrainerError if too far."""
    clips = _clips(trained.config, 1)
    session = _optional("onnxruntime").InferenceSession(path, providers=["CPUExecutionProvider"])
    theirs = torch.from_numpy(session.run(None, {"clips": clips.numpy()})[0])
    with torch.inference_mode():
        ours = PooledBackbone(trained.backbone).eval()(clips)
    difference, largest = float((theirs - ours).abs().max()), float(ours.abs().max())
    if not difference <= _BOUND * largest:
        raise TrainerError(
            f"The features of the ONNX model differ from torch's by up to {difference:.2g}, of a "
            f"largest of {largest:.2g}; up to {_BOUND * largest:.2g} would be rounding. No file "
            "was written. Other versions of torch and onnxruntime may help, or --to safetensors."
        )
    return (
        f"Checked with onnxruntime on a random clip: the largest difference is {difference:.2g}, "
        f"the largest feature {largest:.2g}."
    )


def _clips(config: Config, count: int) -> torch.Tensor:
    """Random clips of a run's frames and size, always the same."""
    data = config.data
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, 3, data.frames, data.size, data.size, generator=generator)


def _optional(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise TrainerError(
            f"--to onnx needs the package {error.name or module}, which is not installed: "
            "pip install 'ascnet[onnx]'"
        ) from error
