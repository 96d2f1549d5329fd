"""Which classes are taken for which, by a classifier or by the nearest neighbour: a heat map, a
list and a table."""

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

LABELLED = 30  # classes; a map of more has no names at its sides
SHADES = (0.05, 0.15, 0.3, 0.5, 0.75, 1.0)  # upper bounds of the shares of a row
_CELL = 18  # pixels where there are names
_LETTER, _LONGEST = 6.3, 20  # pixels of a letter of a name, letters
_NEAREST = "of the nearest video"
_TASKS = {  # the best-informed first: "the class ..."
    "finetune": "that the fine-tuned network names",
    "linear": "that the linear probe names",
    "linear-on-the-fly": "that the linear probe on augmented clips names",
    "attentive-on-the-fly": "that the attentive probe on augmented clips names",
}


@dataclass(frozen=True)
class ClassRow:
    """One class that was asked about.

    Attributes:
        taken_for: the class found most often instead; "": none
    """

    name: str
    videos: int
    right: int
    taken_for: str
    times: int

    @property
    def recall(self) -> float:
        """Percent."""
        return 100 * self.right / self.videos


@dataclass(frozen=True)
class ConfusedPair:
    """A class that is taken for another.

    Attributes:
        videos: of the true class
    """

    true: str
    predicted: str
    times: int
    videos: int

    @property
    def share(self) -> float:
        """Percent."""
        return 100 * self.times / self.videos


@dataclass(frozen=True)
class Confusion:
    """How often each class was taken for each other.

    Attributes:
        counts: (true, predicted): videos; no zeros
        by: whose word is taken: "the class ..."
        file: of results/, that has it; "": a search in the store
    """

    classes: list[str]
    counts: dict[tuple[int, int], int]
    by: str = _NEAREST
    file: str = ""

    @property
    def totals(self) -> list[int]:
        """Videos of each class."""
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
        """The wrong pairs that occur most often, as shares of the videos of a class."""
        totals = self.totals
        wrong = [
            ConfusedPair(self.classes[true], self.classes[predicted], times, totals[true])
            for (true, predicted), times in self.counts.items()
            if true != predicted
        ]
        wrong.sort(key=lambda pair: (-pair.times, -pair.share, pair.true, pair.predicted))
        return wrong[:most]

    def rows(self) -> list[ClassRow]:
        """Every class that was asked with, worst first."""
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
        """What the page needs to say what is under a pointer."""
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
    """Classes of the test videos, and what the best-informed task of `told` says they are: of those
    that fit the store. Where none does, the classes of the nearest videos. None if there are no
    labels."""
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
    """Whether predictions are of the very test videos and the encoder of a store."""
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
    """A row for each true class, a column for each class found; shades are shares of a row."""
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
    """Units for the names at the sides (0: there are none) and of a cell."""
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
