"""Checkpoints: whole or absent, readable without pickle."""

import io
import os
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from trainer.backbones import make_backbone
from trainer.backbones.r3d import R3D
from trainer.config import Config
from trainer.config import load as load_config
from trainer.errors import TrainerError

_KEPT = 2  # checkpoints of a run
CONFIG_FILE = "config.toml"


def folder_of(run: Path) -> Path:
    return run / "checkpoints"


def save(run: Path, step: int, state: dict[str, Any]) -> Path:
    """Write a checkpoint under a temporary name, give it its name, drop all but the last two.

    Raises TrainerError if the disk refuses; the checkpoints before it are left as they are.
    """
    folder = folder_of(run)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{step:08d}.pt"
    partial = path.with_suffix(".partial")
    content = io.BytesIO()  # torch.save hides what the disk says
    torch.save(state | {"step": step}, content)
    try:
        with partial.open("wb") as file:
            file.write(content.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        partial.rename(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise TrainerError(
            f"Cannot write {path}: {error.strerror}. The checkpoints before it are kept: make "
            "room, then go on with --resume."
        ) from error
    for old in list_checkpoints(run)[:-_KEPT]:
        old.unlink()
    return path


def list_checkpoints(run: Path) -> list[Path]:
    """Complete checkpoints of a run, oldest first."""
    return sorted(folder_of(run).glob("*.pt"))


def load_last(run: Path) -> tuple[Path, dict[str, Any]]:
    """The newest checkpoint of a run. Raises TrainerError if there is none to read."""
    found = list_checkpoints(run)
    if not found:
        raise TrainerError(
            f"{run} has no checkpoint yet. Train it first (ascnet train), or name another run "
            "with --run."
        )
    return found[-1], _read(found[-1])


def _read(path: Path) -> dict[str, Any]:
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise TrainerError(
            f"{path} cannot be read ({type(error).__name__}). Remove it to use the one before it."
        ) from error
    return state


@dataclass(frozen=True)
class TrainedBackbone:
    """What evaluation needs of a run."""

    config: Config
    backbone: R3D
    step: int
    sha256: str  # of the checkpoint file


def load_backbone(run: Path) -> TrainedBackbone:
    """The backbone of a run's newest checkpoint. Raises TrainerError if there is none."""
    path, state = load_last(run)
    config = load_config(run / CONFIG_FILE)
    prefix = "encoder.backbone."
    weights = {k.removeprefix(prefix): v for k, v in state["model"].items() if k.startswith(prefix)}
    backbone = make_backbone(config.model.backbone)
    backbone.load_state_dict(weights)
    return TrainedBackbone(
        config=config,
        backbone=backbone,
        step=int(state["step"]),
        sha256=sha256(path.read_bytes()).hexdigest(),
    )


def newest_run(runs: Path, trained: bool = True) -> Path:
    """The run in the folder of runs that was started, or wrote a checkpoint, last; `trained`: of
    those that have a checkpoint. Raises TrainerError if there is none."""
    found = {
        run: max(path.stat().st_mtime_ns for path in (run / CONFIG_FILE, *list_checkpoints(run)))
        for run in runs.glob("*")
        if (run / CONFIG_FILE).is_file() and (list_checkpoints(run) or not trained)
    }
    if not found:
        raise TrainerError(
            f"No {'trained ' if trained else ''}run in {runs}/. Train one first, for example with "
            "`ascnet train shards/`, or name one with --run."
        )
    return max(found, key=lambda run: found[run])
