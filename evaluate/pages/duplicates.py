"""A page for reviewing near-duplicates and deciding which of them to keep. It saves the decisions
as the CSV file for `ascnet build --without`."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evaluate.features.store import Features
from evaluate.pages.facts import store_facts
from evaluate.pages.pictures import Pictures
from evaluate.pages.template import clean, count, render, seconds
from evaluate.pages.thumbnails import Sprite
from evaluate.search.copies import CopyGroup, Worth, proposal
from evaluate.search.duplicates import DuplicatePair, leaks_of
from evaluate.search.search import span_text

MOST_PICTURES = 600  # of 10 to 30 kB each, so that the page opens on a phone


@dataclass(frozen=True)
class SourceFile:
    """The file that a video was built from.

    Attributes:
        cell: name of the video in the table that the page saves
        bytes: size of the file; None: unknown
        seconds: duration given by the container; None: unknown
        size: width and height in pixels; None: the file is missing
        stored: width and height of the stored frames; None: the shards are missing
    """

    cell: str
    bytes: int | None = None
    seconds: float | None = None
    size: tuple[int, int] | None = None
    stored: tuple[int, int] | None = None


@dataclass(frozen=True)
class Wording:
    """Text on the page besides its groups.

    Attributes:
        summary: what was compared, and what was found
        groups: number of groups, including those not shown
        command: the command that builds without the dropped videos; "": not possible for this data
            set
    """

    summary: str
    groups: int
    command: str


@dataclass(frozen=True)
class Card:
    """A video of a group.

    Attributes:
        when: the part that resembles another video
        like: the other video, the part of it, and the similarity
    """

    position: int
    name: str
    class_name: str
    film: Sprite | None
    when: str
    like: str
    facts: list[tuple[str, str]]
    keep: bool


@dataclass(frozen=True)
class GroupOfCards:
    """A group on the page.

    Attributes:
        scores: range of its pairs' scores
        leaks: splits in which its videos are in different parts
    """

    number: int
    scores: str
    leaks: list[str]
    cards: list[Card]


def duplicates_page(
    store: Features,
    groups: Sequence[CopyGroup],
    files: Mapping[int, SourceFile],
    wording: Wording,
) -> str:
    """The page as a self-contained HTML file. `groups` are those to show; `files` has the source
    files of all their videos.

    The pictures come from the shards recorded in the store; if those are missing, there are none.
    """
    pictures = Pictures(store)
    room = MOST_PICTURES
    shown = []
    for group in groups:
        shown.append(_group(store, group, files, pictures, room))
        room = max(0, room - len(group.videos))
    cards = [card for group in shown for card in group.cards]
    problem = pictures.problem
    if not problem and not all(card.film for card in cards):
        problem = f"A page has pictures of at most {MOST_PICTURES} videos; use a smaller --show."
    saved = {
        "key": f"ascnet-decisions-{store.checksum}",
        "cells": [files[card.position].cell for card in cards],
    }
    return render(
        "duplicates.html",
        wording=wording,
        facts=store_facts(store),
        groups=shown,
        cards=len(cards),
        problem=problem,
        has_pictures=any(card.film for card in cards),
        sizes_known=all(files[card.position].size for card in cards),
        saved=json.dumps(saved),
    )


def _group(
    store: Features,
    group: CopyGroup,
    files: Mapping[int, SourceFile],
    pictures: Pictures,
    room: int,
) -> GroupOfCards:
    """The cards of a group; the first `room` of them have pictures."""
    best: dict[int, DuplicatePair] = {}
    for pair in group.pairs:
        best.setdefault(pair.first, pair)
        best.setdefault(pair.second, pair)
    kept = proposal(group, _worth(store, group, files), store.names)
    low, high = group.pairs[-1].score, group.pairs[0].score
    return GroupOfCards(
        number=group.number,
        scores=f"{high:.3f}" if high - low < 5e-4 else f"{low:.3f} to {high:.3f}",
        leaks=sorted({leak for pair in group.pairs for leak in leaks_of(store, pair)}),
        cards=[
            _card(
                store,
                video,
                best[video],
                files[video],
                pictures if i < room else None,
                video in kept,
            )
            for i, video in enumerate(group.videos)
        ],
    )


def _worth(store: Features, group: CopyGroup, files: Mapping[int, SourceFile]) -> dict[int, Worth]:
    sizes = {video: files[video].size for video in group.videos}
    comparable = all(sizes.values())
    return {
        video: Worth(
            pixels=size[0] * size[1] if comparable and size else 0,
            seconds=round(_length(store, video, files[video]) or 0.0, 1),
            bytes=files[video].bytes or 0,
        )
        for video, size in sizes.items()
    }


def _length(store: Features, video: int, file: SourceFile) -> float | None:
    """Seconds of the stored frames, or of the file if those are unknown."""
    length = float(store.duration[video])
    return file.seconds if math.isnan(length) else length


def _card(
    store: Features,
    video: int,
    pair: DuplicatePair,
    file: SourceFile,
    pictures: Pictures | None,
    keep: bool,
) -> Card:
    own, other = (pair.first_clips, pair.second_clips)
    partner = pair.second
    if video == pair.second:
        own, other, partner = other, own, pair.first
    first, last = int(store.clip_frames[own[0], 0]), int(store.clip_frames[own[1], 1])
    return Card(
        position=video,
        name=store.names[video],
        class_name=store.class_of[video],
        film=pictures.draw(video, first, last) if pictures else None,
        when=span_text(store, *own),
        like=f"{span_text(store, *other)} of {clean(store.names[partner])} ({pair.score:.3f})",
        facts=_facts(store, video, file),
        keep=keep,
    )


def _facts(store: Features, video: int, file: SourceFile) -> list[tuple[str, str]]:
    length = _length(store, video, file)
    facts = [
        ("length", f"{count(store.frames[video])} frames" if length is None else seconds(length))
    ]
    if file.size:
        facts.append(("picture", "{} × {}".format(*file.size)))
    elif file.stored:
        facts.append(("stored picture", "{} × {}".format(*file.stored)))
    if file.bytes is not None:
        facts.append(("file", _bytes(file.bytes)))
        if time := file.seconds or length:
            facts.append(("bitrate", f"{count(8e-3 * file.bytes / time)} kbit/s"))
    return facts


def _bytes(number: int) -> str:
    return f"{number / 1e6:.1f} MB" if number >= 1e6 else f"{number / 1e3:.1f} kB"
