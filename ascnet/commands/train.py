"""`ascnet train`: its options and help."""

from itertools import pairwise
from typing import Any

import click

from ascnet.options import Place, UserPath, Whole, no_more, with_device
from builder.command_line import quoted
from trainer.config import recipe_file
from trainer.config.settings import Config


class TrainCommand(click.Command):
    """A command that recognises settings given like options, and suggests --set."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, list(args))
        except click.NoSuchOption as error:
            name = error.option_name.strip("-").replace("-", "_")
            key = recipe_file.setting_like(Config(), name)
            if key is None or (error.possibilities and key.rpartition(".")[2] != name):
                raise
            value = _value_of(error.option_name, args)
            ctx.fail(f"{error.option_name} is a setting; write --set {key}={value}.")


def _value_of(option: str, args: list[str]) -> str:
    """The value after an option, as "--lr 0.1" or "--lr=0.1"; "..." if there is none."""
    for word, after in pairwise([*args, "..."]):
        name, equals, value = word.partition("=")
        if name == option:
            return value if equals else after
    return "..."


def _one_too_many(word: str) -> str:
    if "=" in word:
        return f"Write --set before each setting: --set {quoted(word)}"
    return "SHARDS is one place; to train on several data sets, name the folder that holds them."


@click.command("train", cls=TrainCommand)
@click.argument("shards", type=Place(), required=False)
@no_more(_one_too_many)
@click.option(
    "--recipe",
    help=f"Recipe: {', '.join(recipe_file.recipes())}, or a .toml file.  [default: ucf101-r3d18 on "
    "a GPU, demo on a CPU]",
)
@click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change a setting, such as optim.lr=0.05; may be given several times.",
)
@click.option(
    "--init",
    type=UserPath(),
    help="Initial weights of the backbone: a .safetensors or .pth file of any project, or a "
    "checkpoint of a run (.pt).",
)
@click.option(
    "--run",
    type=UserPath(),
    help="Run directory.  [default: runs/<time>-<recipe>; with --resume, the newest run]",
)
@click.option(
    "--resume",
    is_flag=True,
    help="Continue from the run's last checkpoint; with --run, start the run if it does not exist.",
)
@click.option(
    "--trust-source",
    is_flag=True,
    help="With --resume, use the server or run the command that the run's config.toml names.",
)
@click.option(
    "--probe-every",
    type=Whole(min=1),
    metavar="STEPS",
    help="Every STEPS steps, log recall@1 and the accuracy of the 10 nearest neighbours. Queries "
    "are the training videos of every fifth group; the gallery is the other training videos.",
)
@with_device
@click.option(
    "--dry-run", is_flag=True, help="Print settings, data, memory and FLOPs without training."
)
def command(device: str | None, **options: Any) -> None:
    """Pretrain a network without labels on the training videos of all data sets in SHARDS.

    The objective is ASCNet's: appearance and speed consistency perception (ACP, SCP).

    \b
    SHARDS is a folder (default: shards/), or streamed:
      http://server/shards/ucf101
      "pipe:aws s3 cp s3://bucket/ucf101/{} -"

    On several GPUs: torchrun --nproc-per-node=8 --no-python -- ascnet train SHARDS
    """
    from ascnet.actions.train import run
    from ascnet.device import pick_device

    run(device=pick_device(device), **options)
