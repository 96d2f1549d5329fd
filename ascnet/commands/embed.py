"""`ascnet embed`: its options and help."""

from typing import Any

import click

from ascnet.options import Number, Place, UserPath, with_device, with_weights


@click.command("embed")
@click.argument("videos", nargs=-1, type=UserPath())
@click.option("--add", is_flag=True, help="Add VIDEOS to an existing store.")
@click.option("--remove", is_flag=True, help="Remove VIDEOS, given by their names in the store.")
@click.option(
    "--shards",
    type=Place(),
    metavar="PLACE",
    help="Embed a data set that is already built: a folder, or a streamed one (a URL, or "
    "'pipe:COMMAND {}').",
)
@click.option(
    "--run",
    type=UserPath(),
    help="Run whose encoder to use.  [default: the newest in runs/, else the built-in network]",
)
@with_weights
@click.option(
    "--out",
    type=UserPath(is_file=True),
    help="Store to write.  [default: in RUN/features, named after the videos and the options; with "
    "--add and --remove, the newest store of the run]",
)
@click.option(
    "--every",
    type=Number(min=0, max=1e6),
    help="Seconds between clips; 0: the recipe's fixed number of clips (usually 10).  [default: 1]",
)
@click.option(
    "--mirrored",
    is_flag=True,
    help="Average features over each clip and its mirror image, so that mirrored copies match.",
)
@click.option(
    "--turned",
    is_flag=True,
    help="Average features over each clip and its quarter turns, so that rotated copies match.",
)
@click.option("--shots", is_flag=True, help="Find cuts, and keep every clip within one shot.")
@with_device
@click.option(
    "--overwrite",
    is_flag=True,
    help="Replace a store of other videos, clips or weights, and retry failed videos.",
)
def command(device: str | None, **options: Any) -> None:
    """Embed VIDEOS, which are files or folders, into a store that can be searched.

    A single folder is read as by `ascnet build folder`: its first level is the class. Frames are
    kept beside the store (x.shards for x.h5), so that pages can show them. Videos that cannot be
    read are reported and left out. To continue after an interruption, repeat the command.

    When it is run again after files were added, changed or removed, only new and changed ones are
    decoded and encoded. The old store remains until the new one is complete.

    \b
      ascnet embed my_videos/
      ascnet embed --add more/ one.mp4
      ascnet embed --remove jump/a.mp4 b.mp4

    On several GPUs: torchrun --nproc-per-node=8 --no-python -- ascnet embed VIDEOS
    """
    from ascnet.actions.embed import run
    from ascnet.device import pick_device

    run(device=pick_device(device), **options)
