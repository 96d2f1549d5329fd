"""`ascnet export`: its options and help."""

from typing import Any

import click

from ascnet.options import OneOf, UserPath
from trainer.weights.formats import FORMATS


@click.command("export")
@click.argument("run", type=UserPath(), required=False)
@click.option(
    "--to",
    type=OneOf(list(FORMATS)),
    required=True,
    help="Format: a state dict with torchvision's names (of r3d18, r2plus1d18 and s3d), "
    "safetensors, or an ONNX model from clips to features.",
)
@click.option(
    "--out",
    type=UserPath(),
    help="File to write.  [default: <backbone>-step<step> in the run]",
)
@click.option(
    "--half", is_flag=True, help="Store weights in 16 bits, half the bytes; with --to safetensors."
)
@click.option("--overwrite", is_flag=True, help="Replace an existing file.")
def command(**options: Any) -> None:
    """Export the trained backbone of RUN for other programs. [default: the newest in runs/]

    \b
      ascnet export --to safetensors
      ascnet export runs/my_run --to onnx --out backbone.onnx
    """
    from ascnet.actions.export import run

    run(**options)
