"""Tables and counts for a terminal."""

import unicodedata
from collections.abc import Sequence


def table(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """Rows of cells as aligned lines; the columns numbered in `right` are flush right."""
    widths = [max(map(_width, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = []
        for number, (cell, width) in enumerate(zip(row, widths, strict=True)):
            space = " " * (width - _width(cell))
            cells.append(space + cell if number in right else cell + space)
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def counted(number: int, noun: str) -> str:
    """ "1 clip", "2 clips"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _width(text: str) -> int:
    """Columns of a terminal that a text takes: East Asian letters take two."""
    return sum(1 + (unicodedata.east_asian_width(letter) in "WF") for letter in text)
