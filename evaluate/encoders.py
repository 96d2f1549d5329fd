"""Encoders under test: of a run, of a file of weights, of somebody's own file or of Hugging Face,
and their twins that have not learnt: as training began, and with batch-norm statistics of training
clips besides."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import nn

from builder.shards.dataset import ShardDataset
from builder.shards.manifest import DATASET_FILE, fingerprint
from evaluate.encoder_file import load_encoder, parse, weights_sha256
from evaluate.errors import EvaluateError
from evaluate.hugging_face.load import HF, load_hugging_face, named
from evaluate.own_encoder import EncoderNetwork
from trainer.agreement import on_first
from trainer.backbones.all_backbones import make_backbone
from trainer.calibration import BATCHES, batch_norm_statistics, has_batch_norm
from trainer.config import recipe_file
from trainer.config.settings import Config, Data, Device, Evaluate, Model
from trainer.data.streaming.transport import is_remote, shown
from trainer.data.training_set import gather
from trainer.execution import backends
from trainer.pretrain import make_model
from trainer.run.checkpoint import kept_steps, load_backbone
from trainer.run.run_directory import is_run, record_of
from trainer.weights.load import backbone_from_file, load_weights

TRAINED, UNTRAINED, CALIBRATED = "trained", "untrained", "calibrated"
INITIAL = "initial weights"  # in the tables: the untrained one of a run that began with --init
ENCODER_RECIPE = "encoder"  # what stands for a recipe where a file says what the clips are


@dataclass(frozen=True)
class Subject:
    """An encoder under test.

    Attributes:
        name: TRAINED, UNTRAINED or CALIBRATED
        backbone: clips, float32 N x 3 x T x S x S, to a map N x C x T' x H' x W'
        facts: where its weights come from; part of a store's identity
        title: in the tables; "": its name
        complete: what the backbone lacks before its first clip is computed by this, on a device
    """

    name: str
    backbone: nn.Module
    facts: dict[str, str | int]
    title: str = ""
    complete: Callable[[torch.device], None] | None = None

    @property
    def row(self) -> str:
        """Its name in the tables."""
        return self.title or self.name


@dataclass(frozen=True)
class Subjects:
    """What is evaluated, and where the results go.

    Attributes:
        start: makes the one of `untrained`; None: there is none
        settings: of the run; for a file of weights those of the recipe it is tested with, for an
            encoder file what it says of its clips
        folder: features/ and results/ are below it
        record: of a run: code, shards and counts it was trained on; else the file
        milestone: the step of a run's checkpoint that is not its last; 0: it is the last
        training_settings: of the clips that batch-norm statistics are computed on; None: there is
            no baseline that has them
    """

    trained: Subject
    start: Callable[[], Subject] | None
    settings: Config
    folder: Path
    record: dict[str, Any]
    milestone: int = 0
    training_settings: Config | None = None

    @cached_property
    def untrained(self) -> Subject:
        """A run's network as its training began; for a file of weights, one with fresh weights.
        Raises EvaluateError if a run began with a file that is gone, or was changed."""
        if self.start is None:
            raise EvaluateError("This encoder names no untrained network, so there is no baseline.")
        return self.start()

    def calibrated(self, dataset: ShardDataset) -> Subject | None:
        """The untrained one with batch-norm statistics of training clips: a run's own ones, or
        those of `dataset`; None if there is no such network. Raises EvaluateError, or TrainerError
        or BuilderError, if these clips are not here."""
        settings = self.training_settings
        if settings is None or self.start is None:
            return None
        subject = self.start()  # a copy: the other one keeps its statistics
        folders = [dataset.folder]
        if self.are_of_a_run:
            folders = _training_folders(self.record, dataset)
        elif dataset.source:
            raise EvaluateError(f"The clips of {shown(dataset.source)} would be streamed.")
        data = gather({folder: str(folder) for folder in folders}, settings.data)

        def complete(device: torch.device) -> None:
            with backends(Device(), device, benchmark=False):
                statistics = on_first(
                    lambda: batch_norm_statistics(subject.backbone, settings, data, device)
                )
            subject.backbone.load_state_dict(statistics, strict=False)

        dumped = recipe_file.dump(recipe_file.fixed(settings))
        told = [recipe_file.with_former_values(dumped), *map(fingerprint, folders)]
        facts = subject.facts | {
            "encoder": CALIBRATED,
            "batch_norm_batches": BATCHES,
            "batch_norm_sha256": sha256("".join(told).encode()).hexdigest(),
        }
        return Subject(CALIBRATED, subject.backbone, facts, complete=complete)

    @property
    def are_of_a_run(self) -> bool:
        """Whether it is known what they were trained on."""
        return "shards" in self.record


def of_run(run: Path, step: int | None = None) -> Subjects:
    """The trained backbone of a run's checkpoint of a step (None: of its newest one), and the one
    that its training began with. Raises TrainerError if there is no run, or no such checkpoint."""
    record = record_of(run)
    trained = load_backbone(run, step)
    settings = trained.config
    milestone = 0 if step in (None, kept_steps(run)[-1]) else trained.step

    def start() -> Subject:
        backbone, digest = make_model(settings).encoder.backbone, "none"
        if settings.model.init:
            digest = _load_start(backbone, Path(settings.model.init), record.get("init_sha256"))
        untrained = _subject(UNTRAINED, backbone, settings, digest)
        return replace(untrained, title=INITIAL if settings.model.init else "")

    subject = _subject(TRAINED, trained.backbone, settings, trained.sha256, trained.step)
    if milestone:
        subject = replace(subject, facts=subject.facts | {"milestone": milestone})
    # Weights that a file gave have batch-norm statistics of their own.
    is_fair = not settings.model.init and has_batch_norm(trained.backbone)
    clips = settings if is_fair else None
    return Subjects(subject, start, settings, run, record, milestone, clips)


def _training_folders(record: dict[str, Any], dataset: ShardDataset) -> list[Path]:
    """Where the data sets are that a run was trained on: where they were, or `dataset`. Raises
    EvaluateError if one is not here."""
    folders = []
    places = [place for place in record["shards"] if isinstance(place, str)]
    digests = record.get("shards_sha256") or [""] * len(places)
    for place, digest in zip(places, digests, strict=True):
        may_be = [] if is_remote(place) else [Path(place)]
        may_be += [] if dataset.source else [dataset.folder]
        there = [folder for folder in may_be if (folder / DATASET_FILE).is_file()]
        same = [folder for folder in there if fingerprint(folder) == digest]
        if not same:
            raise EvaluateError(
                f"The shards that the run was trained on ({shown(place)}) are not here any more."
            )
        folders.append(same[0])
    return folders


def _load_start(backbone: nn.Module, path: Path, digest: str | None) -> str:
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

    digest = sha256(path.read_bytes()).hexdigest()
    subject = _subject(TRAINED, trained, settings, digest, _step_of(path))
    record = {"weights": str(path.resolve()), "loaded": loaded.text()}
    clips = settings if has_batch_norm(trained) else None
    folder = folder_of(path, runs)
    return Subjects(subject, start, settings, folder, record, training_settings=clips)


def of_encoder(text: str, runs: Path) -> Subjects:
    """The encoder that FILE.py:NAME gives, which runs that file, or the model of Hugging Face that
    hf:DIRECTORY_OR_NAME names, and its untrained twin if there is one. Results go to
    `folder_of_encoder`. Raises EvaluateError as `load_encoder` and `load_hugging_face` do."""
    loaded = load_hugging_face(text) if text.startswith(HF) else load_encoder(text)
    encoder = loaded.encoder
    settings = Config(
        recipe=ENCODER_RECIPE,
        data=Data(frames=encoder.frames, size=encoder.size, fps=encoder.fps),
        model=Model(backbone=loaded.title),
        evaluate=Evaluate(stride=encoder.stride),
    )
    facts = loaded.facts | {"input": encoder.input_text, "output": encoder.output_text}

    def subject(name: str, module: nn.Module) -> Subject:
        network = EncoderNetwork(module, encoder, loaded.title, loaded.file)
        made = _subject(name, network, settings, weights_sha256(module))
        return replace(made, facts={**made.facts, **facts})

    untrained = loaded.untrained
    start = None if untrained is None else lambda: subject(UNTRAINED, untrained())
    record = {"encoder": loaded.word} | loaded.facts
    folder = folder_of_encoder(text, runs)
    return Subjects(subject(TRAINED, encoder.module), start, settings, folder, record)


def folder_of_encoder(text: str, runs: Path) -> Path:
    """Where what is made with FILE.py:NAME or hf:DIRECTORY_OR_NAME goes."""
    if text.startswith(HF):
        return runs / f"encoder-hf-{named(text)}"
    path, name = parse(text)
    return runs / f"encoder-{path.stem}-{name}"


def folder_of(weights: Path, runs: Path) -> Path:
    """Where what is made with a file of weights goes."""
    run = f"{_run_of(weights).name}-" if _step_of(weights) else ""
    return runs / f"weights-{run}{weights.stem}"


def _run_of(checkpoint: Path) -> Path:
    return checkpoint.resolve().parent.parent


def _step_of(weights: Path) -> int:
    """Of a checkpoint that lies in its run; 0 of another file."""
    lies_in_run = weights.stem.isdecimal() and is_run(_run_of(weights))
    return int(weights.stem) if lies_in_run else 0


def recipe_for(backbone: str) -> str:
    """The recipe whose clips fit a backbone: its own for Kinetics-400, or that of its kin."""
    kin = {"r3d-": "demo", "s3d": "k400-s3dg", "r2plus1d": "k400-r2plus1d18", "c3d": "k400-c3d"}
    return next(
        (recipe for start, recipe in kin.items() if backbone.startswith(start)), "k400-r3d18"
    )


def _subject(
    name: str, backbone: nn.Module, settings: Config, checkpoint: str, step: int = 0
) -> Subject:
    facts: dict[str, str | int] = {"encoder": name, "checkpoint_sha256": checkpoint, "step": step}
    facts |= {"recipe": settings.recipe, "seed": settings.seed}
    return Subject(name, backbone, facts | {"backbone": settings.model.backbone})
