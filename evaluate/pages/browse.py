"""The page of `ascnet browse`: a map of a store's videos, a list, and the nearest videos of
each."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from builder.progress import Progress, silent
from evaluate.choices import MOST_BROWSED
from evaluate.features.store import Features
from evaluate.pages.facts import store_facts
from evaluate.pages.landscape import FEW, arranged
from evaluate.pages.nearest_videos import thin
from evaluate.pages.pictures import Pictures
from evaluate.pages.template import count, render, seconds
from evaluate.pages.thumbnails import QUALITY, Sprite, joined, sprite
from evaluate.retrieval.nearest import nearest
from evaluate.search.search import unit_rows

NEAREST = 12  # videos shown as nearest to each
_FILMS = 27_000_000  # characters of the films of MOST_BROWSED videos; no film gets less space
_LARGE = 1000  # up to so many videos, films are larger
_LARGER, _SMALLER = (8, 160), (6, 128)  # number of frames, largest width in pixels
_QUALITIES = (QUALITY, 40, 25, 12)  # JPEG qualities; the first that fits is used
_STILL = (64, 48)  # pixels
_COLUMNS, _ROWS = 32, 32  # stills on a sheet


@dataclass(frozen=True)
class BrowsedVideo:
    """A video in the list.

    Attributes:
        facts: its class, if any, and its length
        class_at: position of its class in the menu of classes
        group_at: position of its group in the menu of groups
        film: frames of the video; None: its pictures are missing
    """

    name: str
    facts: str
    class_at: int
    group_at: int
    film: Sprite | None


@dataclass(frozen=True)
class Choices:
    """Classes or groups by which the list can be filtered.

    Attributes:
        named: (name, number of videos) for each; empty if there is nothing to choose
        of: for every video, a position in `named`
    """

    named: list[tuple[str, int]]
    of: list[int]


@dataclass(frozen=True)
class Browsed:
    """The videos on the page.

    Attributes:
        videos: int64, positions in the store, ascending; nearest videos are found among these
        chosen: how they were chosen, as a clause; "": they are all videos of the store
    """

    videos: np.ndarray
    chosen: str


def browse_page(
    store: Features, browsed: Browsed, centre: np.ndarray, how: str, progress: Progress = silent
) -> tuple[str, str]:
    """The page as a self-contained HTML file, and a sentence if some pictures are missing,
    otherwise "".

    `centre` (float32, channels) is subtracted from all features before cosines are computed; `how`
    says so on the page. The pictures come from the shards recorded in the store; if those are
    missing, there are none.
    """
    shown = browsed.videos
    rows = unit_rows(store.features[shown], centre, str(store.path)).numpy()
    each_its_own = np.arange(len(shown))
    neighbours = nearest(rows, rows, NEAREST, groups=(each_its_own, each_its_own))
    progress(0, len(shown), "arranging the map")
    placed = arranged(rows)
    pictures = Pictures(store)
    films, stills = _pictures(store, shown, pictures, progress)
    classes = _choices([store.class_of[i] or "unlabelled" for i in shown])
    groups = _choices([store.groups[i] for i in shown])
    videos = [
        BrowsedVideo(store.names[i], _facts(store, i), kind, group, film)
        for i, kind, group, film in zip(shown.tolist(), classes.of, groups.of, films, strict=True)
    ]
    is_coloured = 1 < len(classes.named) <= FEW
    data: dict[str, Any] = {
        "places": placed[0].tolist() if placed else [],
        "height": placed[1] if placed else 0,
        "near": [[int(j) for j in row if j >= 0] for row in neighbours.positions],
        "cosines": [
            [round(c, 3) for c in row if not math.isnan(c)] for row in neighbours.scores.tolist()
        ],
        "columns": _COLUMNS,
        "sheet": _COLUMNS * _ROWS,
        "still": _STILL,
        "coloured": is_coloured,
    }
    page = render(
        "browse.html",
        name=str(store.attributes.get("dataset") or store.path.stem),
        facts=store_facts(store),
        how=how,
        chosen=browsed.chosen,
        of=len(store.names),
        videos=videos,
        classes=classes.named,
        groups=groups.named,
        is_coloured=is_coloured,
        map_height=data["height"],
        has_pictures=bool(stills),
        problem=pictures.problem,
        stills=stills,
        data=data,
    )
    return page, pictures.problem


def browsed_videos(store: Features, most: int) -> Browsed:
    """Choose at most `most` videos of a store, spread over all classes and groups. The choice is
    the same on every call."""
    videos = np.arange(len(store.names))
    if len(videos) <= most:
        return Browsed(videos, "")
    ordered = sorted(videos.tolist(), key=lambda i: (store.class_of[i], store.groups[i], i))
    firsts: dict[str, int] = {}
    for i in ordered:
        firsts.setdefault(store.class_of[i], i)
    some = thin(np.array(list(firsts.values())), most)
    others = np.array(ordered)[~np.isin(ordered, some)]
    if len(some) < len(firsts):
        how = "one of every class, of as many classes, evenly spaced by name"
    elif len(firsts) > 1:
        how = "one of every class, the others evenly spaced in the order of classes and groups"
    else:
        how = "evenly spaced in the order of groups"
    return Browsed(np.sort(np.concatenate([some, thin(others, most - len(some))])), how)


def _choices(names: Sequence[str]) -> Choices:
    """Nothing can be chosen if all names are the same, or all different."""
    times = Counter(names)
    if not 1 < len(times) < len(names):
        return Choices([], [0] * len(names))
    named = sorted(times.items())
    at = {name: i for i, (name, _) in enumerate(named)}
    return Choices(named, [at[name] for name in names])


def _facts(store: Features, video: int) -> str:
    length = float(store.duration[video])
    said = f"{count(store.frames[video])} frames" if math.isnan(length) else seconds(length)
    return f"{store.class_of[video]}, {said}" if store.class_of[video] else said


def _pictures(
    store: Features, shown: np.ndarray, pictures: Pictures, progress: Progress
) -> tuple[list[Sprite | None], list[str]]:
    """The film of every video on the page, and sheets of their still pictures as data URIs."""
    room = _FILMS // min(len(shown), MOST_BROWSED)
    size = _LARGER if len(shown) <= _LARGE else _SMALLER
    films: list[Sprite | None] = []
    stills = []
    for video in shown.tolist():
        frames = pictures.frames((video, 0, int(store.frames[video]) - 1), *size)
        films.append(_film(frames, room) if frames else None)
        stills.append(_still(frames))
        progress(len(films), len(shown), "")
    if not any(films):
        return films, []
    step = _COLUMNS * _ROWS
    sheets = [stills[i : i + step] for i in range(0, len(stills), step)]
    return films, [joined(sheet, _COLUMNS, QUALITY) for sheet in sheets]


def _film(frames: Sequence[Image.Image], room: int) -> Sprite:
    """The film with the best quality that fits `room` characters, or else a single frame."""
    for quality in _QUALITIES:
        film = sprite(frames, quality)
        if len(film.uri) <= room:
            return film
    return sprite(frames[len(frames) // 2 :][:1], _QUALITIES[-1])


def _still(frames: Sequence[Image.Image]) -> Image.Image:
    """The middle frame, cropped to the common shape of all stills; grey if there is no frame."""
    if not frames:
        return Image.new("RGB", _STILL, "#808080")
    return ImageOps.fit(frames[len(frames) // 2], _STILL)
