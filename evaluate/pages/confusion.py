"""Which classes are taken for which: counts of the nearest neighbour's class, as a heat map, a list
and a table."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from evaluate.pages.found import Found
from evaluate.pages.template import clean, safe
from evaluate.store import Features

LABELLED = 30  # classes; a map of more has no names at its sides
SHADES = (0.05, 0.15, 0.3, 0.5, 0.75, 1.0)  # upper bounds of the shares of a row
_CELL = 18  # pixels where there are names
_LETTER, _LONGEST = 6.3, 20  # pixels of a letter of a name, letters


@dataclass(frozen=True)
class ClassRow:
    """One class, as queries."""

    name: str
    queries: int
    right: int
    taken_for: str  # the class found most often instead; "": none
    times: int

    @property
    def recall(self) -> float:
        """Percent."""
        return 100 * self.right / self.queries


@dataclass(frozen=True)
class Pair:
    """A class that is taken for another."""

    true: str
    found: str
    times: int
    queries: int  # of the true class

    @property
    def share(self) -> float:
        """Percent."""
        return 100 * self.times / self.queries


@dataclass(frozen=True)
class Confusion:
    classes: list[str]
    counts: dict[tuple[int, int], int]  # (true, found): queries; no zeros

    @property
    def totals(self) -> list[int]:
        """Queries of each class."""
        totals = [0] * len(self.classes)
        for (true, _), times in self.counts.items():
            totals[true] += times
        return totals

    @property
    def right(self) -> int:
        return sum(times for (true, found), times in self.counts.items() if true == found)

    @property
    def summary(self) -> str:
        """The heat map in words."""
        total = sum(self.counts.values())
        said = (
            f"Heat map of {len(self.classes)} classes: the class of the nearest video against the "
            f"class of the query. {self.right} of {total} queries lie on the diagonal"
        )
        worst = self.pairs(1)
        return said + (
            f"; most confused: {worst[0].true} taken for {worst[0].found}." if worst else "."
        )

    def pairs(self, most: int) -> list[Pair]:
        """The wrong pairs that occur most often, as shares of the queries of a class."""
        totals = self.totals
        wrong = [
            Pair(self.classes[true], self.classes[found], times, totals[true])
            for (true, found), times in self.counts.items()
            if true != found
        ]
        wrong.sort(key=lambda pair: (-pair.times, -pair.share, pair.true, pair.found))
        return wrong[:most]

    def rows(self) -> list[ClassRow]:
        """Every class that was asked with, worst first."""
        wrong: dict[int, list[tuple[int, str]]] = {}
        for (true, found), times in self.counts.items():
            if true != found:
                wrong.setdefault(true, []).append((-times, self.classes[found]))
        rows = []
        for i, (name, total) in enumerate(zip(self.classes, self.totals, strict=True)):
            if total:
                times, other = min(wrong.get(i, [(0, "")]))
                rows.append(ClassRow(name, total, self.counts.get((i, i), 0), other, -times))
        return sorted(rows, key=lambda row: (row.recall, row.name))

    @property
    def data(self) -> dict[str, Any]:
        """What the page needs to say what is under a pointer."""
        cells = [[true, found, times] for (true, found), times in sorted(self.counts.items())]
        side, size = _room(self.classes)
        return {
            "classes": [clean(name) for name in self.classes],
            "cells": cells,
            "totals": self.totals,
            "room": side,
            "cell": size,
        }


def count(store: Features, found: Found) -> Confusion | None:
    """Classes of the queries and of their nearest videos; None if there are no labels."""
    pairs = Counter(
        (int(store.labels[query]), int(store.labels[other]))
        for query, other in zip(found.queries, found.nearest[:, 0], strict=True)
        if other >= 0 and store.labels[query] >= 0 and store.labels[other] >= 0
    )
    if not pairs:
        return None
    names = dict(zip(store.labels.tolist(), store.class_of, strict=True))
    labels = sorted(label for label in names if label >= 0)
    at = {label: i for i, label in enumerate(labels)}
    counts = {(at[true], at[other]): times for (true, other), times in pairs.items()}
    return Confusion([names[label] for label in labels], counts)


def draw(confusion: Confusion) -> Markup:
    """A row for each true class, a column for each class found; shades are shares of a row."""
    room, cell = _room(confusion.classes)
    named = room > 0
    size = room + cell * len(confusion.classes)
    shades: list[list[str]] = [[] for _ in SHADES]
    totals = confusion.totals
    for (true, found), times in sorted(confusion.counts.items()):
        at = next(i for i, bound in enumerate(SHADES) if times / totals[true] <= bound)
        x, y = room + cell * found, room + cell * true
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
