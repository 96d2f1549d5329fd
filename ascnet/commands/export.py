"""`ascnet export`."""

from pathlib import Path

import click

from trainer.run.checkpoint import RUNS, newest_run
from trainer.weights.export import FORMATS, export


@click.command("export")
@click.argument("run", type=click.Path(path_type=Path), required=False)
@click.option(
    "--to",
    type=click.Choice(list(FORMATS)),
    required=True,
    help="A state dict with torchvision's names, safetensors, or an ONNX model clips -> features.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="File to write.  [default: <backbone>-step<step> in the run]",
)
@click.option("--overwrite", is_flag=True, help="Replace the file if it is there.")
def command(run: Path | None, to: str, out: Path | None, overwrite: bool) -> None:
    """Write the trained backbone of RUN for other programs.  [default: the newest in runs/]"""
    exported = export(run or newest_run(RUNS), to, out, overwrite)
    click.echo(f"{exported.path}\n{exported.text}")
