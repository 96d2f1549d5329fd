"""`ascnet embed`: its options and help."""

from typing import Any

import click

from ascnet.options import NumberRange, UserPath, with_device, with_weights


@click.command("embed")
@click.argument("videos", nargs=-1, type=UserPath())
@click.option("--add", is_flag=True, help="Add VIDEOS to those of a store.")
@click.option(
    "--remove", is_flag=True, help="Remove VIDEOS, by their names in the store, from a store."
)
@click.option(
    "--shards",
    metavar="PLACE",
    help="A data set built already: a folder, or what is streamed (a URL, or 'pipe:COMMAND {}').",
)
@click.option(
    "--run",
    type=UserPath(),
    help="Run whose encoder to use.  [default: the newest in runs/]",
)
@with_weights
@click.option(
    "--out",
    type=UserPath(dir_okay=False),
    help="Store to write.  [default: RUN/features/<name>-<seconds>s.h5; with --add and --remove "
    "the newest one of the run]",
)
@click.option(
    "--every",
    type=NumberRange(min=0, max=1e6),
    help="Seconds between clips; 0: the recipe's fixed number of clips (usually 10).  [default: 1]",
)
@click.option(
    "--mirrored",
    is_flag=True,
    help="Mean features over every clip and its mirror image, so that mirrored copies are alike.",
)
@click.option(
    "--turned",
    is_flag=True,
    help="Mean features over every clip and its quarter turns, so that turned copies are alike.",
)
@click.option("--shots", is_flag=True, help="Find cuts, and keep every clip inside one shot.")
@with_device
@click.option(
    "--overwrite",
    is_flag=True,
    help="Replace a store of other videos, clips or weights, and try failed videos again.",
)
def command(device: str | None, **options: Any) -> None:
    """Features of any VIDEOS, files or folders, to a store that can be searched.

    One folder is read as `ascnet build folder` reads it: its first level is the class. Frames are
    kept beside the store (STORE.shards), so that pages can show them. Videos that cannot be read
    are counted and left out. Killed, the same command goes on.

    Given again after files came, changed or went, it decodes and encodes only what is new or
    changed. Until the new store is complete, the old one stays.

    \b
      ascnet embed my_videos/
      ascnet embed --add more/ one.mp4
      ascnet embed --remove jump/a.mp4 b.mp4

    On several GPUs: torchrun --nproc-per-node=8 --no-python -- ascnet embed VIDEOS
    """
    from ascnet.actions.embed import run
    from ascnet.device import pick_device

    run(device=pick_device(device), **options)
