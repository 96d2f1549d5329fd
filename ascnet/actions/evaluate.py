"""Implementation of `ascnet evaluate`."""

import tempfile
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import click
import torch

from ascnet.datasets import datasets_at, left_out, where
from ascnet.encoders import EncoderChoice
from ascnet.measuring import Measuring
from ascnet.options import gathered
from ascnet.said_once import say_on
from builder.errors import AscnetError
from builder.near_name import did_you_mean
from builder.shards.dataset import ShardDataset
from builder.shards.manifest import DATASET_FILE
from evaluate.choices import (
    ALL,
    ATTENTIVE,
    ATTENTIVE_ON_THE_FLY,
    CENTRINGS,
    HEADS,
    ON_THE_FLY,
    POOLINGS,
    SOLVERS,
    TASKS,
)
from evaluate.curve import curve_table, curves_of
from evaluate.encoders import Subjects
from evaluate.errors import EvaluateError, EvaluateUsageError
from evaluate.finetune import settings as finetune_settings
from evaluate.finetune.settings import FinetuneSettings
from evaluate.probe.probe import ProbeSettings
from evaluate.protocol import Protocol, changed_protocol, protocol_of
from evaluate.request import Question
from trainer.agreement import failing_together, on_first
from trainer.data.streaming.transport import is_remote, shown
from trainer.distributed import is_known_to_all, this_rank, together
from trainer.run.checkpoint import kept_steps, load_last
from trainer.run.run_directory import shards_of

_CLIP_OPTIONS = ("clips", "crops", "layer", "pooling")
_TRAINING = {"finetune", ON_THE_FLY}  # tasks that train a classifier on clips
_CLASSIFIER = "classifier."  # prefix of assignments for the classifier's recipe


@dataclass(frozen=True)
class DataChoice:
    """The data sets to evaluate on."""

    shards: str | None
    names: tuple[str, ...]

    def datasets(self, subjects: Subjects, scratch: Path) -> list[ShardDataset]:
        """The data sets. Metadata of streamed ones are copied to `scratch`. Raises EvaluateError if
        one is missing, or if two have the same name."""
        shards = self.shards
        if shards is None and not subjects.are_of_a_run:
            shards = "shards"
        datasets = datasets_at(shards, scratch) if shards else _local(subjects.folder)
        if shards and (text := left_out(shards)):
            say_on(this_rank().number)(f"Left out: {text}")
        known: dict[str, ShardDataset] = {}
        for dataset in datasets:
            name = dataset.name
            if name in known:
                raise EvaluateError(
                    f"{where(known[name])} and {where(dataset)} are both named {name}, so their "
                    "results would have the same file names. Name one of them with --shards, or "
                    "build one with another --name."
                )
            known[name] = dataset
        if missing := [name for name in self.names if name not in known]:
            raise EvaluateUsageError(
                f"There is no data set {missing[0]!r}; choose from "
                f"{', '.join(sorted(known))}.{did_you_mean(missing[0], known)} For another one, "
                "name its folder with --shards."
            )
        return [known[name] for name in self.names] or datasets


@dataclass(frozen=True)
class QuestionChoice:
    """The options that define the evaluation."""

    task: str
    checkpoint: str | None
    split: str | None
    factor: str
    clips: int | None
    crops: str | None
    layer: str | None
    pooling: str | None
    centring: str
    probe: str
    raw: bool
    on_the_fly: bool
    head: str | None
    classifier: str | None
    assignments: tuple[str, ...]
    no_baseline: bool

    @property
    def is_curve(self) -> bool:
        """Whether all kept checkpoints are evaluated."""
        return self.checkpoint == ALL

    @property
    def tasks(self) -> tuple[str, ...]:
        tasks: tuple[str, ...] = TASKS if self.task == ALL else (self.task,)
        if self.task == ALL and self.is_curve:
            tasks = tuple(task for task in tasks if task not in _TRAINING)
        return tuple(ON_THE_FLY if self.on_the_fly and t == "linear" else t for t in tasks)

    @property
    def for_classifier(self) -> tuple[str, ...]:
        """Changes to the classifier's recipe."""
        return tuple(a for a in self.assignments if a.strip().startswith(_CLASSIFIER))

    @property
    def for_clips(self) -> tuple[str, ...]:
        """Changes to the protocol."""
        chosen = {
            name: value for name in _CLIP_OPTIONS if (value := getattr(self, name)) is not None
        }
        assigned = (a for a in self.assignments if a not in self.for_classifier)
        return (*assigned, *(f"{name}={value}" for name, value in chosen.items()))

    def must_be_of_use(self) -> None:
        """Raise UsageError for an option that has no effect on any of the tasks, and for training a
        classifier for every checkpoint."""
        if self.head and ON_THE_FLY not in self.tasks:
            raise click.UsageError(
                f"--head {self.head} is for probes trained on clips. Add --task linear "
                "--on-the-fly, or omit --head."
            )
        if self.is_curve and (trained := [task for task in self.tasks if task in _TRAINING]):
            raise click.UsageError(
                f"--checkpoint all is for tasks on stored features, and {trained[0]} would train a "
                "classifier for every checkpoint. Choose another --task, or name one checkpoint: "
                "--checkpoint STEP."
            )
        assigned = {a.partition("=")[0].strip() for a in self.assignments}
        if twice := [n for n in _CLIP_OPTIONS if getattr(self, n) is not None and n in assigned]:
            raise click.UsageError(f"--{twice[0]} and --set {twice[0]}= are both given: omit one.")
        if self.head and f"{_CLASSIFIER}head" in assigned:
            raise click.UsageError(f"--head and --set {_CLASSIFIER}head= are both given: omit one.")
        for name, is_given, tasks_of_it in (
            ("--on-the-fly", self.on_the_fly, {ON_THE_FLY}),
            ("--centring", self.centring != CENTRINGS[0], {"retrieval", "knn"}),
            ("--probe", self.probe != SOLVERS[0], {"linear"}),
            ("--raw", self.raw, {"linear", "fewshot"}),
            ("--classifier", bool(self.classifier), _TRAINING),
            ("--set classifier.", bool(self.for_classifier), _TRAINING),
        ):
            if is_given and not tasks_of_it & set(self.tasks):
                raise click.UsageError(
                    f"{name} has no effect on {', '.join(self.tasks)}; it is for "
                    f"{', '.join(sorted(tasks_of_it))}. Omit it, or choose another --task."
                )

    def steps(self, encoder: EncoderChoice) -> list[int | None]:
        """The checkpoints to evaluate; None stands for the newest. Raises UsageError for an invalid
        --checkpoint, and TrainerError if a run has no checkpoints."""
        if self.checkpoint is None:
            return [None]
        if others := [option for option in encoder.named if option != "--run"]:
            raise click.UsageError(
                f"--checkpoint names a checkpoint of a run, so it does not go with {others[0]}. "
                "Omit one of them."
            )
        if not self.is_curve:
            if not self.checkpoint.isdecimal():
                raise click.UsageError(
                    f"--checkpoint is {self.checkpoint!r}; it takes a step, such as 2000, or all."
                )
            return [int(self.checkpoint)]
        run = encoder.folder
        if not (steps := kept_steps(run)):
            load_last(run)  # raises an error with advice
        return list(steps)

    def question(self, task: str, subjects: Subjects, dataset: str) -> Question:
        """The request for one task. If a classifier is trained, it includes the recipe and the test
        clips of that recipe."""
        settings, protocol = subjects.settings, protocol_of(subjects.settings)
        finetune = None
        if task in _TRAINING:
            finetune = self._classifier_of(task, dataset, settings.model.backbone)
            protocol = finetune_settings.protocol_for(protocol, finetune)
        protocol = changed_protocol(protocol, self.for_clips)
        if finetune is not None and finetune.head == ATTENTIVE:
            task = _attentive(task, protocol)
        solver = self.probe if task == "linear" else SOLVERS[0]
        return Question(
            task,
            self.split or settings.data.split,
            protocol,
            factor=self.factor,
            centring=self.centring if task in ("retrieval", "knn") else CENTRINGS[0],
            probe=ProbeSettings(standardise=not self.raw, solver=solver),
            finetune=finetune,
            # A curve needs the baseline once, with the last checkpoint.
            baseline=not (self.no_baseline or (self.is_curve and subjects.milestone))
            and subjects.start is not None,
        )

    def _classifier_of(self, task: str, dataset: str, backbone: str) -> FinetuneSettings:
        """The recipe of a task that trains a classifier, with the changes."""
        is_frozen = task == ON_THE_FLY
        head = self.head if is_frozen else None
        recipe = self.classifier or finetune_settings.recipe_for(
            dataset, backbone, is_frozen, head or HEADS[0]
        )
        chosen = (f"{_CLASSIFIER}head={head}",) if head else ()
        changes = (*self.for_classifier, *chosen)
        settings = finetune_settings.load_recipe(recipe, changes, _CLASSIFIER)
        if settings.frozen != is_frozen and settings.head != ATTENTIVE:
            raise EvaluateUsageError(
                f"--classifier {recipe} has frozen = {str(settings.frozen).lower()}, and "
                f"{_TRAINS[task]}. Choose another recipe or another --task."
            )
        return settings


_TRAINS = {
    ON_THE_FLY: "--task linear --on-the-fly trains a head on a frozen network (frozen = true)",
    "finetune": "--task finetune trains the whole network (frozen = false)",
}


def _attentive(task: str, protocol: Protocol) -> str:
    """The task for an attentive probe. Raises EvaluateError for options that conflict with it."""
    if task != ON_THE_FLY:
        raise EvaluateUsageError(
            f"The recipe has an attentive head, which --task {task} does not train. Use --task "
            "linear --on-the-fly, or choose another --classifier."
        )
    if protocol.pooling != POOLINGS[0]:
        raise EvaluateUsageError(
            f"pooling is {protocol.pooling}, but the attentive probe pools by attention. Omit "
            "--pooling, or use --head linear."
        )
    return ATTENTIVE_ON_THE_FLY


@gathered(encoder=EncoderChoice, data=DataChoice, choice=QuestionChoice)
def run(
    encoder: EncoderChoice,
    data: DataChoice,
    choice: QuestionChoice,
    device: torch.device,
    overwrite: bool,
) -> None:
    """Run the command; its help explains the options."""
    choice.must_be_of_use()
    with (
        tempfile.TemporaryDirectory() as scratch,
        together(str(device)) as (_, rank_device),
    ):
        encoder = on_first(encoder.or_newest_run)
        steps = on_first(lambda: choice.steps(encoder))
        datasets: list[ShardDataset] = []
        measured: list[dict[str, Any]] = []
        refused: list[AscnetError] = []
        for step in steps:
            try:
                with failing_together():
                    subjects = encoder.subjects(step)
            except AscnetError as error:
                if not choice.is_curve or not is_known_to_all(error):
                    raise
                refused.append(error)  # the others can still be evaluated
                continue
            datasets = datasets or data.datasets(subjects, Path(scratch))
            done, errors = _measure(choice, subjects, datasets, rank_device, overwrite)
            measured += done
            refused += errors
        if choice.is_curve:
            say = say_on(this_rank().number)
            for curve in curves_of(measured):
                say(curve_table(curve))
            if choice.task == ALL:
                say("  finetune is left out, as it would train a classifier for every checkpoint.")
        with failing_together():
            if refused:
                of_usage = all(error.exit_status == 2 for error in refused)
                kind = EvaluateUsageError if of_usage else EvaluateError
                raise kind(" ".join(dict.fromkeys(map(str, refused))))


def _measure(
    choice: QuestionChoice,
    subjects: Subjects,
    datasets: list[ShardDataset],
    device: torch.device,
    overwrite: bool,
) -> tuple[list[dict[str, Any]], list[AscnetError]]:
    """The results of all tasks on all data sets, and the errors."""
    measured: list[dict[str, Any]] = []
    refused: list[AscnetError] = []
    for dataset, task in product(datasets, choice.tasks):
        try:
            with failing_together():
                question = choice.question(task, subjects, dataset.name)
            measuring = Measuring(question, subjects, dataset, device, overwrite)
            measured.append(measuring.of_curve() if choice.is_curve else measuring.alone())
        except AscnetError as error:
            if not is_known_to_all(error):
                raise
            refused.append(error)  # the others can still be evaluated
    return measured, refused


def _local(run: Path) -> list[ShardDataset]:
    """The data sets of a run, which must be local."""
    sources = shards_of(run)
    if not sources:
        raise EvaluateError(
            f"{run} does not record what it was trained on. Name the folder of the data set with "
            "--shards."
        )
    remote = [source for source in sources if is_remote(source)]
    if remote:
        raise EvaluateError(
            f"{run} was trained on {shown(remote[0])}. For safety, servers and commands named in a "
            "run's config.toml are not used: name it with --shards, or a folder with the same "
            "shards."
        )
    if missing := [source for source in sources if not (Path(source) / DATASET_FILE).is_file()]:
        raise EvaluateError(
            f"{run} was trained on {missing[0]}, where there are no shards now. Name their folder "
            "with --shards."
        )
    return [ShardDataset(Path(source)) for source in sources]
