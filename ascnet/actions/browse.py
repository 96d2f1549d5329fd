"""Implementation of `ascnet browse`."""

from pathlib import Path

import click

from ascnet.centring import centring_text
from ascnet.progress import ProgressBar
from builder.atomic import write_atomically
from builder.counted import counted, file_size
from builder.printable import printable
from evaluate.features.store import Features
from evaluate.pages.browse import browse_page, browsed_videos
from evaluate.search.search import centre_of


def run(store: Path, out: Path | None, show: int, centring: str) -> None:
    """Run the command; its help explains the options."""
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
        number = f"{len(browsed.videos)} of {number}: {browsed.chosen} (--show N shows more)"
    click.echo(f"{printable(str(page))} ({file_size(page.stat().st_size)}): {number}")
    if problem:
        click.echo(f"Some pictures are missing. {printable(problem)}")
