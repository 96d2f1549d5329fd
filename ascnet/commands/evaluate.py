"""`ascnet evaluate`."""

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from ascnet.device import pick_device
from ascnet.encoders import subjects_of
from ascnet.options import with_weights
from ascnet.progress import ProgressBar
from builder.errors import BuilderError
from builder.shards.dataset import ShardDataset, find_datasets
from builder.shards.manifest import DATASET_FILE
from evaluate import results, tasks
from evaluate.encoders import Subjects
from evaluate.errors import EvaluateError
from evaluate.finetune import settings as finetune_settings
from evaluate.probe.probe import SOLVERS, ProbeSettings
from evaluate.protocol import CROPS, POOLINGS, changed_protocol, protocol_of
from evaluate.published import lacks, published, text_rows
from evaluate.request import ON_THE_FLY, TASKS, Question, result_path
from evaluate.retrieval.retrieval import CENTRINGS
from evaluate.split import ALL
from evaluate.tasks import Reporters
from trainer.data.frame_size import enlarged
from trainer.data.streaming.transport import is_remote, shown
from trainer.errors import TrainerError
from trainer.run.checkpoint import RUNS, newest_run
from trainer.run.run import shards_of

_TRAINING = {"finetune", ON_THE_FLY}  # tasks that train a classifier on clips
_CLASSIFIER = "classifier."  # begins the assignments that are for its recipe
_OF_CLIPS = ("frames", "stride", "fps", "short_videos", "size", "short_side", "every", "mirrored")


@click.command("evaluate")
@click.option(
    "--task",
    type=click.Choice([*TASKS, ALL]),
    default="retrieval",
    show_default=True,
    help="Nearest neighbours of test videos among training videos; a linear classifier on "
    "features; a vote of the k nearest; training end to end; or all four.",
)
@click.option(
    "--run", type=click.Path(path_type=Path), help="Run directory.  [default: the newest in runs/]"
)
@with_weights
@click.option(
    "--shards",
    type=click.Path(path_type=Path),
    help="Data sets to evaluate on, one or a folder of several.  [default: what the run was "
    "trained on; with --weights shards/]",
)
@click.option(
    "--dataset", "names", multiple=True, help="Of these data sets only; may be given several times."
)
@click.option(
    "--split",
    help="A split of the data set, or all: mean and standard deviation.  [default: the one the "
    "run was trained on]",
)
@click.option("--factor", default="", help="Compare a known factor of the videos, not the class.")
@click.option("--clips", type=click.IntRange(min=1), help="Clips of a video.")
@click.option("--crops", type=click.Choice([str(n) for n in CROPS]), help="Crops of a clip.")
@click.option("--layer", help="A layer of the network, such as layer3.  [default: the last]")
@click.option("--pooling", type=click.Choice(POOLINGS), help="Of the layer's map.")
@click.option(
    "--centring",
    type=click.Choice(CENTRINGS),
    default="none",
    show_default=True,
    help="Retrieval and kNN: what is taken off the features before the cosine.",
)
@click.option(
    "--probe",
    type=click.Choice(SOLVERS),
    default=SOLVERS[0],
    show_default=True,
    help="Linear: how the classifier is fitted to stored features.",
)
@click.option("--raw", is_flag=True, help="Linear: features as they are, not standardised.")
@click.option(
    "--on-the-fly",
    is_flag=True,
    help="Linear: train on augmented clips by SGD instead, the network frozen.",
)
@click.option(
    "--classifier",
    metavar="RECIPE",
    help=f"Fine-tuning and --on-the-fly: {', '.join(finetune_settings.recipes())}, or a .toml "
    "file.  [default: what fits data set and backbone]",
)
@click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="KEY=VALUE",
    help=f"Change a setting of the clips ({', '.join(_OF_CLIPS)}) or of the classifier "
    "(classifier.lr=0.05); may be given several times.",
)
@click.option("--no-baseline", is_flag=True, help="Leave the untrained network out.")
@click.option("--overwrite", is_flag=True, help="Make anew what was made otherwise, or is damaged.")
def command(
    task: str,
    run: Path | None,
    weights: Path | None,
    backbone: str | None,
    recipe: str | None,
    shards: Path | None,
    names: tuple[str, ...],
    split: str | None,
    factor: str,
    centring: str,
    probe: str,
    raw: bool,
    on_the_fly: bool,
    classifier: str | None,
    assignments: tuple[str, ...],
    no_baseline: bool,
    overwrite: bool,
    **clips: Any,
) -> None:
    """Evaluate a run, with the untrained network beside it as the baseline.

    Features are computed once and kept in the run's features/ (HDF5); results go to its results/.
    """
    for_classifier = tuple(a for a in assignments if a.strip().startswith(_CLASSIFIER))
    for_clips = tuple(a for a in assignments if a not in for_classifier)
    for_clips += tuple(f"{key}={value}" for key, value in clips.items() if value is not None)
    questions: tuple[str, ...] = TASKS if task == ALL else (task,)
    if on_the_fly:
        questions = tuple(ON_THE_FLY if one == "linear" else one for one in questions)
    _must_be_of_use(
        questions,
        {
            "--on-the-fly": (on_the_fly, {ON_THE_FLY}),
            "--centring": (centring != CENTRINGS[0], {"retrieval", "knn"}),
            "--probe": (probe != SOLVERS[0], {"linear"}),
            "--raw": (raw, {"linear"}),
            "--classifier": (bool(classifier), _TRAINING),
            "--set classifier.": (bool(for_classifier), _TRAINING),
        },
    )
    if run is None and weights is None:
        run = newest_run(RUNS)
    subjects = subjects_of(run, weights, backbone, recipe)
    refused: list[str] = []
    for folder in _datasets(subjects, shards, names):
        for one in questions:
            try:
                dataset = ShardDataset(folder)
                question = Question(
                    one,
                    split or subjects.settings.data.split,
                    protocol_of(subjects.settings),
                    factor=factor,
                    centring=centring if one in ("retrieval", "knn") else CENTRINGS[0],
                    probe=ProbeSettings(standardise=not raw, solver=probe),
                    baseline=not no_baseline,
                )
                if one in _TRAINING:
                    question = _with_classifier(
                        question, subjects, dataset.name, classifier, for_classifier
                    )
                question = replace(
                    question, protocol=changed_protocol(question.protocol, for_clips)
                )
                _evaluate(question, subjects, dataset, overwrite)
            except (EvaluateError, TrainerError, BuilderError) as error:
                refused.append(str(error))  # the others can still be evaluated
    if refused:
        raise EvaluateError(" ".join(dict.fromkeys(refused)))


def _must_be_of_use(questions: tuple[str, ...], options: dict[str, tuple[bool, set[str]]]) -> None:
    """Raises UsageError for an option that is given, but changes nothing in any of the tasks."""
    for name, (is_given, tasks_of_it) in options.items():
        if is_given and not tasks_of_it & set(questions):
            raise click.UsageError(
                f"{name} changes nothing in {', '.join(questions)}; it is for "
                f"{', '.join(sorted(tasks_of_it))}. Leave it out, or choose another --task."
            )


def _with_classifier(
    question: Question,
    subjects: Subjects,
    dataset: str,
    recipe: str | None,
    assignments: tuple[str, ...],
) -> Question:
    """With the recipe of the classifier, and clips as it tests them."""
    recipe = recipe or finetune_settings.recipe_for(
        dataset, subjects.settings.model.backbone, question.task == ON_THE_FLY
    )
    settings = finetune_settings.load_recipe(recipe, assignments, _CLASSIFIER)
    protocol = finetune_settings.protocol_for(question.protocol, settings)
    return replace(question, finetune=settings, protocol=protocol)


def _evaluate(
    question: Question, subjects: Subjects, dataset: ShardDataset, overwrite: bool
) -> None:
    small = enlarged(dataset.videos, question.size, question.protocol.short_side)
    if small and question.finetune is not None:
        click.echo(small)  # before hours of training, too
    with ExitStack() as stack:
        videos, fits, steps = (
            stack.enter_context(ProgressBar(title, unit))
            for title, unit in (
                ("features", "videos"),
                (question.task, "parts"),
                ("training", "steps"),
            )
        )
        result = tasks.evaluate(
            question,
            subjects,
            dataset,
            pick_device(),
            Reporters(videos, fits, steps),
            overwrite=overwrite,
        )
    click.echo(results.table(result))
    if not question.factor and published(question.task, dataset.name):
        left_out = lacks(dataset.name, len(result["classes"]), result["splits"])
        for line in [left_out] if left_out else text_rows(question.task, dataset.name):
            click.echo(f"  {line}")
    click.echo(f"  {result_path(question, subjects, dataset.name)}")


def _datasets(subjects: Subjects, shards: Path | None, names: tuple[str, ...]) -> list[Path]:
    """Folders of the data sets to evaluate on. Raises EvaluateError if one is missing."""
    if shards is None and "weights" in subjects.record:
        shards = Path("shards")
    found = find_datasets(shards) if shards else _local(subjects.folder)
    known: dict[str, Path] = {}
    for folder in found:
        name = ShardDataset(folder).name
        if name in known:
            raise EvaluateError(
                f"{known[name]} and {folder} are both named {name}, and their results would have "
                "the same files. Name one of them with --shards, or build one with another --name."
            )
        known[name] = folder
    if not names:
        return found
    if missing := [name for name in names if name not in known]:
        raise EvaluateError(
            f"There is no data set {missing[0]!r} here; there are {', '.join(sorted(known))}. "
            "Name the folder that holds it with --shards."
        )
    return [known[name] for name in names]


def _local(run: Path) -> list[Path]:
    """The data sets of a run, which have to be here."""
    sources = shards_of(run)
    if not sources:
        raise EvaluateError(
            f"{run} does not say what it was trained on. Name the folder of the data set with "
            "--shards."
        )
    remote = [source for source in sources if is_remote(source)]
    if remote:
        raise EvaluateError(
            f"{run} was trained on {shown(remote[0])}, and evaluation reads local shards. Copy or "
            "build them here and name their folder with --shards."
        )
    if missing := [source for source in sources if not (Path(source) / DATASET_FILE).is_file()]:
        raise EvaluateError(
            f"{run} was trained on {missing[0]}, where no shards are now. Name the folder where "
            "they are with --shards."
        )
    return [Path(source) for source in sources]
