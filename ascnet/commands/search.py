"""`ascnet search`."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import click
import torch

from ascnet import embedding
from ascnet.centring import centring_text, with_centring
from ascnet.device import with_device
from ascnet.encoders import EncoderChoice, newest_store, protocol_in, subject_of
from ascnet.options import gathered, with_encoder_file
from ascnet.text import counted
from builder.atomic import write_atomically
from builder.printable import printable
from builder.text_table import aligned
from evaluate.features.store import Features
from evaluate.pages.search import search_page
from evaluate.search.search import Match, centre_of, search, span_text


@dataclass(frozen=True)
class SearchChoice:
    """Where is searched, and how.

    Attributes:
        store: None: the newest finished one of the run
        centring: of SEARCH_CENTRINGS
    """

    store: Path | None
    centring: str


@click.command("search")
@click.argument("query", type=click.Path(path_type=Path))
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
    type=click.Path(path_type=Path),
    help="Where to search.  [default: the newest finished store of the run]",
)
@click.option(
    "--run",
    type=click.Path(path_type=Path),
    help="Run that the store was made with.  [default: the one it lies in, else the newest]",
)
@click.option("--weights", type=click.Path(path_type=Path), help="Or the file of weights.")
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
@gathered(encoder=EncoderChoice, choice=SearchChoice)
def command(
    query: Path,
    count: int,
    encoder: EncoderChoice,
    choice: SearchChoice,
    page: str | None,
    device: torch.device,
) -> None:
    """Find the videos of a store whose clips are nearest to those of the video file QUERY.

    The query is cut and encoded as the store's videos were. A video counts by its best clip.
    """
    html = _page_path(page, query)
    encoder = encoder.or_default(choice.store)
    gallery = Features(choice.store or newest_store(encoder))
    protocol = protocol_in(gallery)
    if encoder.weights is not None and encoder.recipe is None:
        encoder = replace(encoder, recipe=str(gallery.attributes["recipe"]))
    subjects = encoder.subjects()
    subject = subject_of(gallery, subjects, " ".join(map(str, encoder.named.values())))
    with tempfile.TemporaryDirectory() as scratch:
        clips = embedding.query_features(query, gallery, subject, protocol, device, Path(scratch))
        centre = centre_of(gallery, choice.centring)
        matches = search(gallery, clips.clip_features, count, centre)
        how = _how(gallery, clips, bool(centre.any()), choice.centring)
        click.echo(_text(gallery, clips, matches))
        click.echo(f"  {how}\n  {printable(str(gallery.path))}")
        if html is not None:
            html.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(html, search_page(gallery, clips, matches, how))
            click.echo(f"  {printable(str(html))}")


def _page_path(page: str | None, query: Path) -> Path | None:
    """Where the page goes; None if none is asked for."""
    if page is None:
        return None
    if page and Path(page).suffix != ".html":
        raise click.UsageError(
            f"--html is {printable(page)!r}; pages end in .html. A bare --html stands last."
        )
    return Path(page or f"search-{query.stem}.html")


def _text(gallery: Features, query: Features, matches: Sequence[Match]) -> str:
    labelled = any(gallery.class_of)
    head = ["rank", "cosine", "video", "clip", "in the query"] + ["class"] * labelled
    rows = [
        [
            str(rank),
            f"{match.cosine:.3f}",
            printable(gallery.names[match.video]),
            span_text(gallery, match.clip),
            span_text(query, match.query_clip),
            *([printable(gallery.class_of[match.video]) or "-"] if labelled else []),
        ]
        for rank, match in enumerate(matches, start=1)
    ]
    return "\n".join(aligned([head, *rows], right=(0, 1)))


def _how(gallery: Features, query: Features, is_centred: bool, centring: str) -> str:
    """What was compared with what."""
    clips = counted(len(query.clip_video), "clip")
    theirs = counted(len(gallery.clip_video), "clip")
    videos = counted(len(gallery.names), "video")
    return (
        f"{clips} of the query beside {theirs} of {videos}; cosine of the best pair of clips, "
        f"features {centring_text(gallery, centring, is_centred)}"
    )
