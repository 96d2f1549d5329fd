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
from trainer.weights import backbone_from_file

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


def of_file(path: Path, backbone: str | None, recipe: str | None, runs: Path) -> Subjects:
    """A file of weights, whatever project wrote it, and a fresh network of the same kind; the kind
    is the one that fits unless it is named. Clips are those of a recipe, by default `recipe_for`;
    results go to `runs`/weights-<name of the file>. Raises TrainerError if the file cannot be read
    or does not fit."""
    trained, loaded, name = backbone_from_file(path, backbone)
    recipe = recipe or recipe_for(name)
    settings = config.override(config.load_recipe(recipe), (f"model.backbone={name}",))
    torch.manual_seed(settings.seed)
    fresh = make_backbone(name)
    own = {"recipe": settings.recipe, "seed": settings.seed, "backbone": name}
    return Subjects(
        _subject(TRAINED, trained, sha256(path.read_bytes()).hexdigest(), 0, own),
        _subject(UNTRAINED, fresh, "none", 0, own),
        settings,
        runs / f"weights-{path.stem}",
        {"weights": str(path.resolve()), "loaded": loaded.text()},
    )


def recipe_for(backbone: str) -> str:
    """The recipe whose clips fit a backbone: its own for Kinetics-400, or that of its kin."""
    kin = {"r3d-": "demo", "s3d": "k400-s3dg", "r2plus1d": "k400-r2plus1d18", "c3d": "k400-c3d"}
    return next((own for start, own in kin.items() if backbone.startswith(start)), "k400-r3d18")


def _subject(
    name: str, backbone: Backbone, checkpoint: str, step: int, own: dict[str, Any]
) -> Subject:
    facts = {"encoder": name, "checkpoint_sha256": checkpoint, "step": step, **own}
    return Subject(name, backbone, facts)
