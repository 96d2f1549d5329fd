"""Implementation of `ascnet export`."""

from pathlib import Path

import click

from trainer.run.checkpoint import RUNS, newest_run
from trainer.weights.export import export


def run(run: Path | None, to: str, out: Path | None, half: bool, overwrite: bool) -> None:
    """Run the command; its help explains the options."""
    exported = export(run or newest_run(RUNS), to, out, half=half, overwrite=overwrite)
    click.echo(f"{exported.path}\n{exported.text}")
