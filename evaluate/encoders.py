"""Encoders to evaluate: of a run, a file of weights, a Python file or Hugging Face. Each has
baselines: the network before training, and the same with batch-norm statistics of training
clips."""

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
INITIAL = "initial weights"  # row of the untrained network in the tables, for runs with --init
ENCODER_RECIPE = "encoder"  # in place of a recipe's name where an Encoder defines the clips


@dataclass(frozen=True)
class Subject:
    """An encoder to evaluate.

    Attributes:
        name: TRAINED, UNTRAINED or CALIBRATED
        backbone: network from clips, float32 N x 3 x T x S x S, to a map N x C x T' x H' x W'
        facts: origin of its weights; part of a store's identity
        title: name in the tables; "": `name`
        complete: computes on a device what the backbone still lacks, before its first clip; None:
            nothing is lacking
    """

    name: str
    backbone: nn.Module
    facts: dict[str, str | int]
    title: str = ""
    complete: Callable[[torch.device], None] | None = None

    @property
    def row(self) -> str:
        """Name in the tables."""
        return self.title or self.name


@dataclass(frozen=True)
class Subjects:
    """An encoder with its baselines, and the folder for the results.

    Attributes:
        start: makes the subject of `untrained`; None: there is none
        settings: settings of the run; for a file of weights, those of the chosen recipe; for an
            Encoder, its clips
        folder: parent folder of features/ and results/
        record: for a run: its code, shards and counts; otherwise the file of the encoder
        milestone: step of a checkpoint that is not the last of its run; 0: the last, or no run
        training_settings: settings for the clips that batch-norm statistics are computed on; None:
            there is no calibrated baseline
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
        """The run's network before training; for a file of weights, a randomly initialised network.
        Raises EvaluateError if the file that the run began with is missing or has changed, or if
        there is no untrained network."""
        if self.start is None:
            raise EvaluateError("This encoder has no untrained network, so there is no baseline.")
        return self.start()

    def calibrated(self, dataset: ShardDataset, split: str) -> Subject | None:
        """The untrained network with batch-norm statistics of training clips: those of the run, or
        those of `dataset` in this split. None if there is no such network. Raises EvaluateError,
        TrainerError or BuilderError if these clips are not available."""
        settings = self.training_settings
        if settings is None or self.start is None:
            return None
        subject = self.start()  # a second network: `untrained` keeps its statistics
        folders = [dataset.folder]
        if self.are_of_a_run:
            folders = _training_folders(self.record, dataset)
        elif dataset.source:
            raise EvaluateError(
                f"Batch-norm statistics need local shards, and {shown(dataset.source)} is streamed."
            )
        if not self.are_of_a_run:
            settings = replace(settings, data=replace(settings.data, split=split))
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
        """Whether the training data are known."""
        return "shards" in self.record


def of_run(run: Path, step: int | None = None) -> Subjects:
    """The backbone of a run's checkpoint at a step (None: the newest), and the network before its
    training. Raises TrainerError if there is no such run or checkpoint."""
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
    # A network that began with a file of weights has that file's batch-norm statistics.
    is_fair = not settings.model.init and has_batch_norm(trained.backbone)
    clips = settings if is_fair else None
    return Subjects(subject, start, settings, run, record, milestone, clips)


def _training_folders(record: dict[str, Any], dataset: ShardDataset) -> list[Path]:
    """The folders of the data sets that a run was trained on: the recorded ones, or `dataset` if it
    is the same data. Raises EvaluateError if one is missing."""
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
                f"The shards that the run was trained on ({shown(place)}) are missing."
            )
        folders.append(same[0])
    return folders


def _load_start(backbone: nn.Module, path: Path, digest: str | None) -> str:
    """Load the weights that training began with. Returns their sha256."""
    if not path.is_file() or sha256(path.read_bytes()).hexdigest() != digest:
        raise EvaluateError(
            f"The run began with the weights in {path}, which are missing or have changed since, "
            "so there is no baseline. Restore the file, or pass --no-baseline."
        )
    load_weights(backbone, path)
    return str(digest)


def of_file(path: Path, backbone: str | None, recipe: str | None, runs: Path) -> Subjects:
    """The network of a file of weights from any project, and a randomly initialised one. The
    backbone is detected unless named. The clips are those of a recipe, by default `recipe_for` the
    backbone; results go to `folder_of` the file. Raises TrainerError if the file cannot be read or
    does not fit."""
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
    """The encoder of FILE.py:NAME (runs that file) or of hf:DIRECTORY_OR_NAME (a Hugging Face
    model), and its untrained network if it has one. Results go to `folder_of_encoder`. Raises
    EvaluateError as `load_encoder` and `load_hugging_face` do."""
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
    """The folder for features and results of FILE.py:NAME or hf:DIRECTORY_OR_NAME."""
    if text.startswith(HF):
        return runs / f"encoder-hf-{named(text)}"
    path, name = parse(text)
    return runs / f"encoder-{path.stem}-{name}"


def folder_of(weights: Path, runs: Path) -> Path:
    """The folder for features and results of a file of weights."""
    run = f"{_run_of(weights).name}-" if _step_of(weights) else ""
    return runs / f"weights-{run}{weights.stem}"


def _run_of(checkpoint: Path) -> Path:
    return checkpoint.resolve().parent.parent


def _step_of(weights: Path) -> int:
    """The step of a checkpoint inside its run; 0 for any other file."""
    lies_in_run = weights.stem.isdecimal() and is_run(_run_of(weights))
    return int(weights.stem) if lies_in_run else 0


def recipe_for(backbone: str) -> str:
    """The recipe whose clips fit a backbone: that of its family for Kinetics-400."""
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
