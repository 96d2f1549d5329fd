"""`ascnet report`."""

from pathlib import Path

import click

from ascnet.progress import ProgressBar
from ascnet.text import file_size
from evaluate.pages.report import write_report
from trainer.run.checkpoint import RUNS, newest_run


@click.command("report")
@click.argument("run", type=click.Path(path_type=Path), required=False)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File to write.  [default: report.html in the run]",
)
def command(run: Path | None, out: Path | None) -> None:
    """Write a web page about RUN: settings, curves, results, what is found for what, a map of the
    features, and what failed to build. One file that needs nothing else.  [default: the newest in
    runs/]"""
    with ProgressBar("report", "data sets") as progress:
        path = write_report(run or newest_run(RUNS, trained=False), out, progress)
    click.echo(f"{path} ({file_size(path.stat().st_size)})")
