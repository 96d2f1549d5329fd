"""Which classes a classifier, or the nearest neighbour, confuses: a heat map, a list and a
table."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from evaluate.features.store import Features
from evaluate.pages.nearest_videos import NearestVideos, name_of
from evaluate.pages.pictures import as_stored
from evaluate.pages.results import Predictions
from evaluate.pages.template import clean, safe

LABELLED = 30  # up to so many classes, the map has names at its sides
SHADES = (0.05, 0.15, 0.3, 0.5, 0.75, 1.0)  # upper bounds, as shares of a row
_CELL = 18  # pixels, if there are names
_LETTER, _LONGEST = 6.3, 20  # pixels per letter of a name, letters of the longest one
_NEAREST = "of the nearest video"
_TASKS = {  # most accurate first; each completes "the class ..."
    "finetune": "that the fine-tuned network names",
    "linear": "that the linear probe names",
    "linear-on-the-fly": "that the linear probe on augmented clips names",
    "attentive-on-the-fly": "that the attentive probe on augmented clips names",
}


@dataclass(frozen=True)
class ClassRow:
    """A true class, and how well it is recognised.

    Attributes:
        videos: number of its test videos
        right: number of those that are classified correctly
        taken_for: the most frequent wrong class; "": none
        times: number of videos taken for that class
    """

    name: str
    videos: int
    right: int
    taken_for: str
    times: int

    @property
    def recall(self) -> float:
        """Percentage of its videos that are classified correctly."""
        return 100 * self.right / self.videos


@dataclass(frozen=True)
class ConfusedPair:
    """A class that is taken for another.

    Attributes:
        times: number of videos that are taken for the other class
        videos: number of test videos of the true class
    """

    true: str
    predicted: str
    times: int
    videos: int

    @property
    def share(self) -> float:
        """Percentage of the true class's videos."""
        return 100 * self.times / self.videos


@dataclass(frozen=True)
class Confusion:
    """How often each class was taken for each other one.

    Attributes:
        counts: {(true, predicted): number of videos}, without zeros
        by: source of the predictions; completes "the class ..."
        file: file of results/ with the predictions; "": the nearest videos in the store
    """

    classes: list[str]
    counts: dict[tuple[int, int], int]
    by: str = _NEAREST
    file: str = ""

    @property
    def totals(self) -> list[int]:
        """Number of test videos of each class."""
        totals = [0] * len(self.classes)
        for (true, _), times in self.counts.items():
            totals[true] += times
        return totals

    @property
    def right(self) -> int:
        return sum(times for (true, predicted), times in self.counts.items() if true == predicted)

    @property
    def summary(self) -> str:
        """The heat map in words."""
        total = sum(self.counts.values())
        worst = [f"; most confused: {p.true} taken for {p.predicted}" for p in self.pairs(1)]
        return (
            f"Heat map of {len(self.classes)} classes: the class {self.by} against the true "
            f"class. {self.right} of {total} videos lie on the diagonal{''.join(worst)}."
        )

    def pairs(self, most: int) -> list[ConfusedPair]:
        """The most frequent wrong pairs."""
        totals = self.totals
        wrong = [
            ConfusedPair(self.classes[true], self.classes[predicted], times, totals[true])
            for (true, predicted), times in self.counts.items()
            if true != predicted
        ]
        wrong.sort(key=lambda pair: (-pair.times, -pair.share, pair.true, pair.predicted))
        return wrong[:most]

    def rows(self) -> list[ClassRow]:
        """All classes with test videos, worst first."""
        wrong: dict[int, list[tuple[int, str]]] = {}
        for (true, predicted), times in self.counts.items():
            if true != predicted:
                wrong.setdefault(true, []).append((-times, self.classes[predicted]))
        rows = []
        for i, (name, total) in enumerate(zip(self.classes, self.totals, strict=True)):
            if total:
                times, other = min(wrong.get(i, [(0, "")]))
                rows.append(ClassRow(name, total, self.counts.get((i, i), 0), other, -times))
        return sorted(rows, key=lambda row: (row.recall, row.name))

    @property
    def data(self) -> dict[str, Any]:
        """The data with which the page describes what is under the pointer."""
        cells = [
            [true, predicted, times] for (true, predicted), times in sorted(self.counts.items())
        ]
        side, size = _room(self.classes)
        return {
            "classes": [clean(name) for name in self.classes],
            "cells": cells,
            "totals": self.totals,
            "room": side,
            "cell": size,
        }


def confusion_of(
    store: Features, nearest: NearestVideos, told: Sequence[Predictions] = ()
) -> Confusion | None:
    """Compare the classes of the test videos with the predictions of the most accurate task in
    `told` that fit the store, or else with the classes of their nearest videos. None if there are
    no labels."""
    for task, by in _TASKS.items():
        for predictions in told:
            if predictions.task == task and _fits(store, nearest, predictions):
                true = store.labels[store.part(nearest.split, nearest.part)]
                said = np.array(predictions.labels)
                return _confusion(store, true, said, by, predictions.file)
    first = nearest.nearest[:, 0]
    labels = np.where(first >= 0, store.labels[first], -1)
    return _confusion(store, store.labels[nearest.queries], labels)


def _fits(store: Features, nearest: NearestVideos, predictions: Predictions) -> bool:
    """Whether predictions are for the same test videos and encoder as a store."""
    kinds = {(label, name) for label, name in _names_of(store).items() if label >= 0}
    where = (predictions.dataset, predictions.split, predictions.part)
    return (
        where == (name_of(store), nearest.split, nearest.part)
        and predictions.checkpoint == store.attributes.get("checkpoint_sha256", "")
        and len(predictions.labels) == len(store.part(nearest.split, nearest.part))
        and kinds <= set(enumerate(map(as_stored, predictions.classes)))
    )


def _names_of(store: Features) -> dict[int, str]:
    return dict(zip(store.labels.tolist(), store.class_of, strict=True))


def _confusion(
    store: Features, true: np.ndarray, said: np.ndarray, by: str = _NEAREST, file: str = ""
) -> Confusion | None:
    names = _names_of(store)
    labels = sorted(label for label in names if label >= 0)
    at = {label: i for i, label in enumerate(labels)}
    pairs = Counter(
        (at[one], at[other])
        for one, other in zip(true.tolist(), said.tolist(), strict=True)
        if one in at and other in at
    )
    if not pairs:
        return None
    return Confusion([names[label] for label in labels], dict(pairs), by, file)


def draw_heat_map(confusion: Confusion) -> Markup:
    """An SVG heat map with a row per true class and a column per predicted class; shades are shares
    of a row."""
    room, cell = _room(confusion.classes)
    named = room > 0
    size = room + cell * len(confusion.classes)
    shades: list[list[str]] = [[] for _ in SHADES]
    totals = confusion.totals
    for (true, predicted), times in sorted(confusion.counts.items()):
        at = next(i for i, bound in enumerate(SHADES) if times / totals[true] <= bound)
        x, y = room + cell * predicted, room + cell * true
        shades[at].append(f"M{x} {y}h{cell}v{cell}h-{cell}z")
    fixed = f' width="{size}" height="{size}"' if named else ""
    pieces = [
        f'<svg class="heat{"" if named else " bare"}" viewBox="0 0 {size} {size}"{fixed} role="img"'
        f' tabindex="0" aria-label="{safe(confusion.summary)}">'
        f'<path class="back" d="M{room} {room}H{size}V{size}H{room}z"/>'
    ]
    pieces += [f'<path class="h{i}" d="{"".join(d)}"/>' for i, d in enumerate(shades) if d]
    if named:
        pieces += _names(confusion.classes)
    pieces.append('<path class="cursor" d=""/></svg>')
    return Markup("".join(pieces))


def _room(classes: Sequence[str]) -> tuple[int, int]:
    """Space for the names at the sides (0: no names), and the size of a cell, in units of the
    SVG."""
    if len(classes) > LABELLED:
        return 0, 1
    return 12 + round(_LETTER * min(_LONGEST, max(map(len, classes)))), _CELL


def _names(classes: Sequence[str]) -> list[str]:
    pieces, room = [], _room(classes)[0]
    for i, name in enumerate(classes):
        middle = room + _CELL * i + _CELL / 2
        text = safe(name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…")
        pieces.append(
            f'<text x="{room - 5}" y="{middle + 4:g}" text-anchor="end">{text}</text>'
            f'<text transform="translate({middle + 4:g} {room - 5}) rotate(-90)">{text}</text>'
        )
    return pieces
