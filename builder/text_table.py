"""Tables of text: aligned for a terminal, or as markdown."""

import unicodedata
from collections.abc import Container, Sequence

Rows = Sequence[Sequence[str]]


def aligned(rows: Rows, right: Container[int] = (), gap: str = "  ") -> list[str]:
    """One line per row; the columns whose numbers are in `right` are right-aligned."""
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
    """The first row is the header; all columns but the first are right-aligned."""
    head, *others = rows
    lines = [head, ["---", *("---:" for _ in head[1:])], *others]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _width(text: str) -> int:
    """Number of terminal columns that a text takes: wide East Asian characters take two."""
    return sum(1 + (unicodedata.east_asian_width(letter) in "WF") for letter in text)
