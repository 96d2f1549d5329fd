"""`ascnet evaluate`."""

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from evaluate.published import text_rows

from ascnet.commands.train import RUNS, pick_device
from ascnet.progress import Progress
from builder.shard import ShardDataset, find_datasets
from evaluate import finetune_config, results, tasks
from evaluate.errors import EvaluateError
from evaluate.parts import ALL
from evaluate.probe import SOLVERS, ProbeSettings
from evaluate.protocol import CROPS, POOLINGS, changed, protocol_of
from evaluate.retrieval import CENTRINGS
from evaluate.subjects import Subjects, of_file, of_run
from evaluate.tasks import ON_THE_FLY, TASKS, Question, Reporters, result_path
from trainer.checkpoint import newest_run
from trainer.run import shards_of
from trainer.sources import is_remote

_CLASSIFIER = "classifier."  # begins the assignments that are for its recipe
_OF_CLIPS = ("frames", "stride", "fps", "short_videos", "size", "short_side", "every")


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
@click.option(
    "--weights",
    type=click.Path(path_type=Path),
    help="A file of weights in place of a run, of any project (torchvision, RSPNet, ...).",
)
@click.option("--backbone", help="With --weights.  [default: the one that fits]")
@click.option("--recipe", help="With --weights: whose clips to take.  [default: k400-<backbone>]")
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
    help=f"Fine-tuning and --on-the-fly: {', '.join(finetune_config.recipes())}, or a .toml file.  "
    "[default: what fits data set and backbone]",
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
    _must_fit(run, weights, backbone, recipe, task, on_the_fly)
    subjects = (
        of_file(weights, backbone, recipe, RUNS) if weights else of_run(run or newest_run(RUNS))
    )
    for_classifier = tuple(a for a in assignments if a.strip().startswith(_CLASSIFIER))
    for_clips = tuple(a for a in assignments if a not in for_classifier)
    for_clips += tuple(f"{key}={value}" for key, value in clips.items() if value is not None)
    refused = []
    for folder in _datasets(subjects, shards, names):
        dataset = ShardDataset(folder)
        for one in TASKS if task == ALL else (task,):
            question = Question(
                ON_THE_FLY if one == "linear" and on_the_fly else one,
                split or subjects.settings.data.split,
                protocol_of(subjects.settings),
                factor=factor,
                centring=centring,
                probe=ProbeSettings(standardise=not raw, solver=probe),
                baseline=not no_baseline,
            )
            if question.task in ("finetune", ON_THE_FLY):
                question = _with_classifier(
                    question, subjects, dataset.name, classifier, for_classifier
                )
            question = replace(question, protocol=changed(question.protocol, for_clips))
            try:
                _evaluate(question, subjects, dataset, overwrite)
            except EvaluateError as error:  # the others can still be evaluated
                if str(error) not in refused:
                    refused.append(str(error))
    if refused:
        raise EvaluateError(" ".join(refused))


def _with_classifier(
    question: Question,
    subjects: Subjects,
    dataset: str,
    recipe: str | None,
    assignments: tuple[str, ...],
) -> Question:
    """With the recipe of the classifier, and clips as it tests them."""
    recipe = recipe or finetune_config.recipe_for(
        dataset, subjects.settings.model.backbone, question.task == ON_THE_FLY
    )
    own = tuple(assignment.strip().removeprefix(_CLASSIFIER) for assignment in assignments)
    settings = finetune_config.load_recipe(recipe, own)
    protocol = finetune_config.protocol_for(question.protocol, settings)
    return replace(question, finetune=settings, protocol=protocol)


def _evaluate(
    question: Question, subjects: Subjects, dataset: ShardDataset, overwrite: bool
) -> None:
    with ExitStack() as stack:
        videos, fits, steps = (
            stack.enter_context(Progress(title, unit))
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
    for line in text_rows(question.task.removesuffix("-on-the-fly"), dataset.name):
        click.echo(line)
    click.echo(f"  {result_path(question, subjects, dataset.name)}")


def _must_fit(
    run: Path | None,
    weights: Path | None,
    backbone: str | None,
    recipe: str | None,
    task: str,
    on_the_fly: bool,
) -> None:
    if run and weights:
        raise click.UsageError("--run and --weights name two things to evaluate; give one of them.")
    if (backbone or recipe) and not weights:
        raise click.UsageError(
            "--backbone and --recipe go with --weights; a run has its own backbone and recipe."
        )
    if on_the_fly and task not in ("linear", ALL):
        raise click.UsageError("--on-the-fly goes with --task linear.")


def _datasets(subjects: Subjects, shards: Path | None, names: tuple[str, ...]) -> list[Path]:
    """Folders of the data sets to evaluate on. Raises EvaluateError if one is missing."""
    if shards is None and "weights" in subjects.record:
        shards = Path("shards")
    found = find_datasets(shards) if shards else _local(subjects.folder)
    if not names:
        return found
    known = {ShardDataset(folder).name: folder for folder in found}
    if missing := [name for name in names if name not in known]:
        raise EvaluateError(
            f"There is no data set {missing[0]!r} here; there are {', '.join(sorted(known))}. "
            "Name the folder that holds it with --shards."
        )
    return [known[name] for name in names]


def _local(run: Path) -> list[Path]:
    """The data sets of a run, which have to be here."""
    sources = shards_of(run)
    remote = [source for source in sources if is_remote(source)]
    if remote:
        raise EvaluateError(
            f"{run} was trained on {remote[0]}, and evaluation reads local shards. Copy or build "
            "them here and name their folder with --shards."
        )
    return [Path(source) for source in sources]
