"""`ascnet browse`: its options and help."""

from typing import Any

import click

from ascnet.options import UserPath, Whole, page_path, with_centring
from evaluate.choices import MOST_BROWSED


@click.command("browse")
@click.argument("store", type=UserPath())
@click.option(
    "--out",
    metavar="FILE",
    type=UserPath(is_file=True),
    callback=page_path,
    help="HTML file to write.  [default: x.html beside x.h5]",
)
@click.option(
    "--show",
    type=Whole(1),
    default=MOST_BROWSED,
    show_default=True,
    help="Maximum number of videos on the page, spread over classes and groups.",
)
@with_centring
def command(**options: Any) -> None:
    """Write a web page of the videos of STORE: a map with similar videos close together, a list,
    and the nearest videos of each. The page is one self-contained file.

    Videos are compared by their mean features. Pictures come from the shards that STORE names; if
    those are missing, the page has none.
    """
    from ascnet.actions.browse import run

    run(**options)
