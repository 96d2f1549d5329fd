"""`ascnet search`: its options and help."""

from typing import Any

import click

from ascnet.options import UserPath, Whole, with_centring, with_encoder_file, with_search_device


@click.command("search")
@click.argument("query", type=UserPath())
@click.option(
    "-k",
    "count",
    type=Whole(1),
    default=10,
    show_default=True,
    help="Number of videos to find.",
)
@click.option(
    "--store",
    type=UserPath(),
    help="Store to search.  [default: the newest finished store of the run]",
)
@click.option(
    "--run",
    type=UserPath(),
    help="Run that the store was made with.  [default: the run that contains it, the newest, or "
    "else the built-in network]",
)
@click.option(
    "--weights",
    type=UserPath(),
    metavar="FILE|built-in",
    help="File of weights that the store was made with, or built-in.",
)
@click.option("--backbone", help="Backbone of --weights.  [default: the one that fits]")
@click.option("--recipe", help="Recipe for --weights.  [default: the one that the store names]")
@with_encoder_file
@with_centring
@with_search_device
@click.option(
    "--html",
    "page",
    is_flag=False,
    flag_value="",
    metavar="[FILE]",
    help="Write a page on which the clips play. FILE may be left out if --html comes last; the "
    "page is then search-<name of the query>.html.",
)
def command(device: str | None, **options: Any) -> None:
    """Find the videos of a store whose clips are nearest to those of the video file QUERY.

    Clips of the query are taken and encoded like those of the store. A video is ranked by its best
    clip.

    \b
      ascnet search query.mp4
      ascnet search query.mp4 -k 20 --html
    """
    from ascnet.actions.search import run
    from ascnet.device import pick_device

    run(device=pick_device(device), **options)
