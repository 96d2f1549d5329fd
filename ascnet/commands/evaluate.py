"""`ascnet evaluate`."""

from pathlib import Path

import click

from ascnet.commands.train import RUNS, pick_device
from ascnet.progress import Progress
from builder.shard import find_datasets
from evaluate import report
from evaluate.errors import EvaluateError
from evaluate.tasks import evaluate, result_path
from trainer.checkpoint import newest_run
from trainer.run import shards_of
from trainer.sources import is_remote


@click.command("evaluate")
@click.option(
    "--task",
    type=click.Choice(["retrieval", "linear"]),
    default="retrieval",
    show_default=True,
    help="Nearest neighbours of test videos among training videos, or a linear classifier.",
)
@click.option(
    "--run", type=click.Path(path_type=Path), help="Run directory.  [default: the newest in runs/]"
)
@click.option(
    "--shards",
    type=click.Path(path_type=Path),
    help="Data set to evaluate on.  [default: what the run was trained on]",
)
@click.option("--split", help="Split of the data set.  [default: the one the run was trained on]")
def command(task: str, run: Path | None, shards: Path | None, split: str | None) -> None:
    """Evaluate a run, with the untrained network beside it as the baseline."""
    run = run or newest_run(RUNS)
    refused = []
    for folder in find_datasets(shards) if shards else _local(run):
        try:
            with Progress("features", "videos") as videos, Progress("probe", "fits") as fits:
                result = evaluate(task, run, folder, split, pick_device(), videos, fits)
        except EvaluateError as error:  # the other data sets can still be evaluated
            refused.append(str(error))
            continue
        click.echo(report.table(result))
        click.echo(f"  {result_path(run, task, result['dataset'], result['split'])}")
    if refused:
        raise EvaluateError(" ".join(refused))


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
