"""`ascnet search`: its options and help."""

from typing import Any

import click

from ascnet.options import UserPath, with_centring, with_device, with_encoder_file


@click.command("search")
@click.argument("query", type=UserPath())
@click.option(
    "-k",
    "count",
    type=click.IntRange(1),
    default=10,
    show_default=True,
    help="Videos to find.",
)
@click.option(
    "--store",
    type=UserPath(),
    help="Where to search.  [default: the newest finished store of the run]",
)
@click.option(
    "--run",
    type=UserPath(),
    help="Run that the store was made with.  [default: the one it lies in, else the newest]",
)
@click.option("--weights", type=UserPath(), help="Or the file of weights.")
@click.option("--backbone", help="With --weights.  [default: the one that fits]")
@click.option("--recipe", help="With --weights.  [default: the one that the store names]")
@with_encoder_file
@with_centring
@with_device
@click.option(
    "--html",
    "page",
    is_flag=False,
    flag_value="",
    metavar="[FILE]",
    help="Write a page where the clips play.  [without FILE: search-<name of the query>.html]",
)
def command(device: str | None, **options: Any) -> None:
    """Find the videos of a store whose clips are nearest to those of the video file QUERY.

    The query is cut and encoded as the store's videos were. A video counts by its best clip.

    \b
      ascnet search query.mp4
      ascnet search query.mp4 -k 20 --html
    """
    from ascnet.actions.search import run
    from ascnet.device import pick_device

    run(device=pick_device(device), **options)
