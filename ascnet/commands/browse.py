"""`ascnet browse`: its options and help."""

from typing import Any

import click

from ascnet.options import UserPath, page_path, with_centring
from evaluate.choices import MOST_BROWSED


@click.command("browse")
@click.argument("store", type=UserPath())
@click.option(
    "--out",
    metavar="FILE",
    type=UserPath(dir_okay=False),
    callback=page_path,
    help="Page to write.  [default: STORE.html, beside the store]",
)
@click.option(
    "--show",
    type=click.IntRange(1),
    default=MOST_BROWSED,
    show_default=True,
    help="Videos on the page at most, of all classes and groups; each takes up to 15 kB.",
)
@with_centring
def command(**options: Any) -> None:
    """Write a page of the videos of STORE: a map on which similar ones lie close together, a list,
    and for each video the ones that are nearest to it. One file that needs nothing else.

    A video counts by its mean features. Pictures are made of the shards that STORE names; where
    these are gone, the page has none.
    """
    from ascnet.actions.browse import run

    run(**options)
