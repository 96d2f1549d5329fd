"""Implementation of `ascnet search`."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import click
import torch

from ascnet import embedding
from ascnet.built_in import NOTE, is_built_in
from ascnet.centring import centring_text
from ascnet.encoders import EncoderChoice, newest_store, protocol_in, subject_of
from ascnet.options import gathered
from builder.atomic import write_atomically
from builder.counted import counted
from builder.printable import printable
from builder.text_table import aligned
from evaluate.errors import EvaluateError
from evaluate.features.store import Features
from evaluate.pages.search import search_page
from evaluate.search.search import Match, centre_of, search, span_text


@dataclass(frozen=True)
class SearchChoice:
    """Where to search, and how.

    Attributes:
        store: store to search; None: the newest finished store of the run
        centring: one of SEARCH_CENTRINGS
    """

    store: Path | None
    centring: str


@gathered(encoder=EncoderChoice, choice=SearchChoice)
def run(
    query: Path,
    count: int,
    encoder: EncoderChoice,
    choice: SearchChoice,
    page: str | None,
    device: torch.device,
) -> None:
    """Run the command; its help explains the options."""
    html = _page_path(page, query)
    if not query.exists():
        raise EvaluateError(f"There is no file or folder {printable(str(query))}.")
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
        if is_built_in(encoder.weights):
            click.echo(f"  {NOTE}")
        if html is not None:
            html.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(html, search_page(gallery, clips, matches, how))
            click.echo(f"  {printable(str(html))}")


def _page_path(page: str | None, query: Path) -> Path | None:
    """The path of the page; None if no page is requested."""
    if page is None:
        return None
    if page and Path(page).suffix != ".html":
        raise click.UsageError(
            f"--html is {printable(page)!r}; the name must end in .html. Without a name, --html "
            "must be the last word."
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
    """What was compared, in words."""
    clips = counted(len(query.clip_video), "clip")
    theirs = counted(len(gallery.clip_video), "clip")
    videos = counted(len(gallery.names), "video")
    return (
        f"{clips} of the query compared with {theirs} of {videos}; cosine of the best pair of "
        f"clips, features {centring_text(gallery, centring, is_centred)}"
    )
