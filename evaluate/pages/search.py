"""The page of a search: clips that were found, with the moments of the query that they resemble."""

from collections.abc import Sequence
from dataclasses import dataclass

from builder.counted import counted
from evaluate.features.store import Features
from evaluate.pages.pictures import Pictures
from evaluate.pages.template import render
from evaluate.pages.thumbnails import Sprite
from evaluate.search.search import Match, span_text

_SHOWN = 24  # clips of the query shown at most, evenly spaced


@dataclass(frozen=True)
class SearchClip:
    """A clip on the page.

    Attributes:
        when: time code, or frame numbers
    """

    name: str
    when: str
    film: Sprite | None


@dataclass(frozen=True)
class Card:
    """A clip that was found, with the query's clip that it resembles."""

    rank: int
    cosine: float
    clip: SearchClip
    class_name: str
    query: SearchClip


def search_page(gallery: Features, query: Features, matches: Sequence[Match], how: str) -> str:
    """The page as a self-contained HTML file. `how` says what was compared with what.

    The pictures come from the shards recorded in the stores; if those are missing, there are none.
    """
    theirs, ours = Pictures(gallery), Pictures(query)
    step = max(1, -(-len(query.clip_video) // _SHOWN))
    shown = range(0, len(query.clip_video), step)
    cards = [
        Card(
            rank=rank,
            cosine=match.cosine,
            clip=_clip(gallery, theirs, match.clip),
            class_name=gallery.class_of[match.video],
            query=_clip(query, ours, match.query_clip),
        )
        for rank, match in enumerate(matches, start=1)
    ]
    made, videos = gallery.attributes, counted(len(gallery.names), "video")
    facts = [
        ("searched", f"{videos}, {counted(len(gallery.clip_video), 'clip')}"),
        ("store", gallery.path.name),
        ("data set", made.get("dataset", "")),
        ("encoder", f"{made.get('backbone')}, {made.get('encoder')}, step {made.get('step')}"),
        ("clips", f"{made.get('frames')} frames, stride {made.get('stride')}"),
    ]
    return render(
        "search.html",
        query=query.names[0],
        facts=facts,
        how=how,
        asked=[_clip(query, ours, clip) for clip in shown],
        clips=len(query.clip_video),
        cards=cards,
        problem=theirs.problem,
        has_pictures=any(card.clip.film for card in cards),
    )


def _clip(store: Features, pictures: Pictures, clip: int) -> SearchClip:
    number = int(store.clip_video[clip])
    first, last = map(int, store.clip_frames[clip])
    film = pictures.draw(number, first, last)
    return SearchClip(store.names[number], span_text(store, clip), film)
