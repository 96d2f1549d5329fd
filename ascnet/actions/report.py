"""Implementation of `ascnet report`."""

from pathlib import Path

import click

from ascnet.progress import ProgressBar
from builder.counted import file_size
from evaluate.pages.report import write_report
from trainer.run.checkpoint import RUNS, newest_run


def run(run: Path | None, out: Path | None) -> None:
    """Run the command; its help explains the options."""
    with ProgressBar("report", "data sets") as progress:
        path = write_report(run or newest_run(RUNS, trained=False), out, progress)
    click.echo(f"{path} ({file_size(path.stat().st_size)})")
