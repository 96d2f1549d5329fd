"""`ascnet browse`."""

from pathlib import Path

import click

from ascnet.centring import centring_text, with_centring
from ascnet.options import page_path
from ascnet.progress import ProgressBar
from ascnet.text import counted, file_size
from builder.atomic import write_atomically
from builder.printable import printable
from evaluate.features.store import Features
from evaluate.pages.browse import MOST, browse_page, browsed_videos
from evaluate.search.search import centre_of


@click.command("browse")
@click.argument("store", type=click.Path(path_type=Path))
@click.option(
    "--out",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    callback=page_path,
    help="Page to write.  [default: STORE.html, beside the store]",
)
@click.option(
    "--show",
    type=click.IntRange(1),
    default=MOST,
    show_default=True,
    help="Videos on the page at most, of all classes and groups; each takes up to 15 kB.",
)
@with_centring
def command(store: Path, out: Path | None, show: int, centring: str) -> None:
    """Write a page of the videos of STORE: a map on which similar ones lie close together, a list,
    and for each video the ones that are nearest to it. One file that needs nothing else.

    A video counts by its mean features. Pictures are made of the shards that STORE names; where
    these are gone, the page has none.
    """
    features = Features(store)
    centre = centre_of(features, centring)
    browsed = browsed_videos(features, show)
    how = centring_text(features, centring, bool(centre.any()))
    with ProgressBar("pictures", "videos") as progress:
        text, problem = browse_page(features, browsed, centre, how, progress)
    page = out or store.with_suffix(".html")
    page.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(page, text)
    number = counted(len(features.names), "video")
    if browsed.chosen:
        number = f"{len(browsed.videos)} of {number}, {browsed.chosen} (--show N shows more)"
    click.echo(f"{printable(str(page))} ({file_size(page.stat().st_size)}): {number}")
    if problem:
        click.echo(f"Not all videos have a picture. {printable(problem)}")
