"""Encoders under test: the one of a run or of a file of weights, and its untrained twin."""

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from trainer import config
from trainer.backbones import make_backbone
from trainer.backbones.base import Backbone
from trainer.checkpoint import load_backbone
from trainer.config import Config
from trainer.pretrain import make_model
from trainer.run import record_of
from trainer.weights import load_weights

TRAINED, UNTRAINED = "trained", "untrained"


@dataclass(frozen=True)
class Subject:
    """An encoder under test."""

    name: str  # TRAINED or UNTRAINED
    backbone: Backbone
    facts: dict[str, str | int]  # where its weights come from; part of a store's identity


@dataclass(frozen=True)
class Subjects:
    """What is evaluated, and where the results go."""

    trained: Subject
    untrained: Subject
    settings: Config  # of the run; for a file of weights those of the recipe it is tested with
    folder: Path  # features/ and results/ are below it
    record: dict[str, Any]  # of a run: code, shards and counts it was trained on; else the file


def of_run(run: Path) -> Subjects:
    """The trained backbone of a run's newest checkpoint, and the one that its training began with.
    Raises TrainerError if there is no run, or no checkpoint."""
    record = record_of(run)
    trained = load_backbone(run)
    settings = trained.config
    own = {"recipe": settings.recipe, "seed": settings.seed, "backbone": settings.model.backbone}
    start = make_model(settings).encoder.backbone
    return Subjects(
        _subject(TRAINED, trained.backbone, trained.sha256, trained.step, own),
        _subject(UNTRAINED, start, "none", 0, own),
        settings,
        run,
        record,
    )


def of_file(path: Path, backbone: str, recipe: str, runs: Path) -> Subjects:
    """A file of weights, whatever project wrote it, and a fresh network of the same kind. Clips are
    those of a recipe; results go to `runs`/weights-<name of the file>. Raises TrainerError if the
    file cannot be read or does not fit."""
    settings = config.override(config.load_recipe(recipe), (f"model.backbone={backbone}",))
    torch.manual_seed(settings.seed)
    fresh, loaded = make_backbone(backbone), make_backbone(backbone)
    note = load_weights(loaded, path).text()
    own = {"recipe": settings.recipe, "seed": settings.seed, "backbone": backbone}
    return Subjects(
        _subject(TRAINED, loaded, sha256(path.read_bytes()).hexdigest(), 0, own),
        _subject(UNTRAINED, fresh, "none", 0, own),
        settings,
        runs / f"weights-{path.stem}",
        {"weights": str(path.resolve()), "loaded": note},
    )


def recipe_for(backbone: str) -> str:
    """The recipe whose clips fit a backbone: its own for Kinetics-400 where there is one."""
    if backbone == "r3d-tiny":
        return "demo"
    if backbone.startswith("s3d"):
        return "k400-s3dg"
    own = f"k400-{backbone}"
    return own if own in config.recipes() else "k400-r3d18"


def _subject(
    name: str, backbone: Backbone, checkpoint: str, step: int, own: dict[str, Any]
) -> Subject:
    facts = {"encoder": name, "checkpoint_sha256": checkpoint, "step": step, **own}
    return Subject(name, backbone, facts)
