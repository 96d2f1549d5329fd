"""Encoders under test: the one of a run or of a file of weights, and its untrained twin."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from evaluate.errors import EvaluateError
from trainer.backbones.all_backbones import make_backbone
from trainer.backbones.base import Backbone
from trainer.config import recipe_file
from trainer.config.settings import Config
from trainer.pretrain import make_model
from trainer.run.checkpoint import load_backbone
from trainer.run.run_directory import record_of
from trainer.weights.load import backbone_from_file, load_weights

TRAINED, UNTRAINED = "trained", "untrained"


@dataclass(frozen=True)
class Subject:
    """An encoder under test.

    Attributes:
        name: TRAINED or UNTRAINED
        facts: where its weights come from; part of a store's identity
    """

    name: str
    backbone: Backbone
    facts: dict[str, str | int]


@dataclass(frozen=True)
class Subjects:
    """What is evaluated, and where the results go.

    Attributes:
        start: makes the one of `untrained`
        settings: of the run; for a file of weights those of the recipe it is tested with
        folder: features/ and results/ are below it
        record: of a run: code, shards and counts it was trained on; else the file
    """

    trained: Subject
    start: Callable[[], Subject]
    settings: Config
    folder: Path
    record: dict[str, Any]

    @cached_property
    def untrained(self) -> Subject:
        """A run's network as its training began; for a file of weights, one with fresh weights.
        Raises EvaluateError if a run began with a file that is gone, or was changed."""
        return self.start()


def of_run(run: Path) -> Subjects:
    """The trained backbone of a run's newest checkpoint, and the one that its training began with.
    Raises TrainerError if there is no run, or no checkpoint."""
    record = record_of(run)
    trained = load_backbone(run)
    settings = trained.config

    def start() -> Subject:
        backbone, digest = make_model(settings).encoder.backbone, "none"
        if settings.model.init:
            digest = _load_start(backbone, Path(settings.model.init), record.get("init_sha256"))
        return _subject(UNTRAINED, backbone, settings, digest)

    subject = _subject(TRAINED, trained.backbone, settings, trained.sha256, trained.step)
    return Subjects(subject, start, settings, run, record)


def _load_start(backbone: Backbone, path: Path, digest: str | None) -> str:
    """Load what training began with; its sha256 comes back."""
    if not path.is_file() or sha256(path.read_bytes()).hexdigest() != digest:
        raise EvaluateError(
            f"The run began with the weights in {path}, which are gone or were changed since, so "
            "the baseline cannot be made. Put the file back, or say --no-baseline."
        )
    load_weights(backbone, path)
    return str(digest)


def of_file(path: Path, backbone: str | None, recipe: str | None, runs: Path) -> Subjects:
    """A file of weights, whatever project wrote it, and a fresh network of the same kind; the kind
    is the one that fits unless it is named. Clips are those of a recipe, by default `recipe_for`;
    results go to `folder_of` the file. Raises TrainerError if the file cannot be read or does not
    fit."""
    trained, loaded, name = backbone_from_file(path, backbone)
    recipe = recipe or recipe_for(name)
    settings = recipe_file.override(recipe_file.load_recipe(recipe), (f"model.backbone={name}",))

    def start() -> Subject:
        torch.manual_seed(settings.seed)
        return _subject(UNTRAINED, make_backbone(name), settings, "none")

    subject = _subject(TRAINED, trained, settings, sha256(path.read_bytes()).hexdigest())
    record = {"weights": str(path.resolve()), "loaded": loaded.text()}
    return Subjects(subject, start, settings, folder_of(path, runs), record)


def folder_of(weights: Path, runs: Path) -> Path:
    """Where what is made with a file of weights goes."""
    return runs / f"weights-{weights.stem}"


def recipe_for(backbone: str) -> str:
    """The recipe whose clips fit a backbone: its own for Kinetics-400, or that of its kin."""
    kin = {"r3d-": "demo", "s3d": "k400-s3dg", "r2plus1d": "k400-r2plus1d18", "c3d": "k400-c3d"}
    return next(
        (recipe for start, recipe in kin.items() if backbone.startswith(start)), "k400-r3d18"
    )


def _subject(
    name: str, backbone: Backbone, settings: Config, checkpoint: str, step: int = 0
) -> Subject:
    facts: dict[str, str | int] = {"encoder": name, "checkpoint_sha256": checkpoint, "step": step}
    facts |= {"recipe": settings.recipe, "seed": settings.seed}
    return Subject(name, backbone, facts | {"backbone": settings.model.backbone})
