"""What a search found, as a page: the clips play beside the moments of the query they are like."""

from collections.abc import Sequence
from dataclasses import dataclass

from builder.shard import ShardDataset, Video
from evaluate.errors import EvaluateError
from evaluate.pages.template import render
from evaluate.pages.thumbnails import Sprite, sprite
from evaluate.search import Match, span_text
from evaluate.store import Features
from trainer.provenance import fingerprint

_ASKED = 24  # clips of the query to show, evenly spaced


@dataclass(frozen=True)
class Shown:
    """A clip on the page."""

    name: str
    when: str  # time code, or frames
    film: Sprite | None


@dataclass(frozen=True)
class Found:
    """A card: what was found, and what of the query it is like."""

    rank: int
    cosine: float
    clip: Shown
    class_name: str
    query: Shown


def search_page(gallery: Features, query: Features, found: Sequence[Match], how: str) -> str:
    """HTML of one file that needs no other. `how`: what was compared with what, in words.

    Pictures come from the shards that the stores name; where those are gone, there are none.
    """
    theirs, ours = videos_of(gallery), videos_of(query)
    step = max(1, -(-len(query.clip_video) // _ASKED))
    shown = range(0, len(query.clip_video), step)
    cards = [
        Found(
            rank=rank,
            cosine=match.cosine,
            clip=_clip(gallery, theirs, match.clip),
            class_name=gallery.class_of[match.video],
            query=_clip(query, ours, match.query_clip),
        )
        for rank, match in enumerate(found, start=1)
    ]
    own = gallery.attributes
    facts = [
        ("searched", f"{len(gallery.names)} videos, {len(gallery.clip_video)} clips"),
        ("store", gallery.path.name),
        ("data set", own.get("dataset", "")),
        ("encoder", f"{own.get('backbone')}, {own.get('encoder')}, step {own.get('step')}"),
        ("clips", f"{own.get('frames')} frames, stride {own.get('stride')}"),
    ]
    return render(
        "search.html",
        query=query.names[0],
        facts=facts,
        how=how,
        asked=[_clip(query, ours, clip) for clip in shown],
        clips=len(query.clip_video),
        cards=cards,
        has_pictures=theirs is not None,
        shards=str(gallery.shards),
    )


def videos_of(store: Features) -> tuple[Video, ...] | None:
    """The videos of a store in its order, to take pictures from; None if its shards are gone, or
    were built anew since."""
    try:
        same = fingerprint(store.shards) == store.attributes.get("dataset_sha256")
        return ShardDataset(store.shards).videos if same else None
    except OSError:
        return None


def _clip(store: Features, videos: tuple[Video, ...] | None, clip: int) -> Shown:
    number = int(store.clip_video[clip])
    first, last = map(int, store.clip_frames[clip])
    film = None
    if videos is not None:
        try:
            film = sprite(videos[number], first, last)
        except (OSError, EvaluateError):
            film = None  # the page is about what was found; `ascnet verify` is about the shards
    return Shown(store.names[number], span_text(store, clip), film)
