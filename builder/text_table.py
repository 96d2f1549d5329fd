"""Rows of cells as a table of text: aligned, for a terminal, or markdown."""

import unicodedata
from collections.abc import Container, Sequence

Rows = Sequence[Sequence[str]]


def aligned(rows: Rows, right: Container[int] = (), gap: str = "  ") -> list[str]:
    """A line for every row; the columns numbered in `right` are flush right."""
    widths = [max(map(_width, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = []
        for number, (cell, width) in enumerate(zip(row, widths, strict=True)):
            space = " " * (width - _width(cell))
            cells.append(space + cell if number in right else cell + space)
        lines.append(gap.join(cells).rstrip())
    return lines


def markdown(rows: Rows) -> str:
    """The first row is the head; all columns but the first are flush right."""
    head, *others = rows
    lines = [head, ["---", *("---:" for _ in head[1:])], *others]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _width(text: str) -> int:
    """Columns of a terminal that a text takes: East Asian letters take two."""
    return sum(1 + (unicodedata.east_asian_width(letter) in "WF") for letter in text)
