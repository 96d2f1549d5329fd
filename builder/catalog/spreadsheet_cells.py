"""Cells of CSV files: a spreadsheet computes what begins with =, +, - or @, so a name that does is
written with an apostrophe before it, as spreadsheets themselves show text, and read without."""

import re
from collections.abc import Iterable

# Full-width signs are the same to spreadsheets of some languages.
_FORMULA = re.compile("'*[=+@\t\r\n＝＋－＠-]")
# What ends a cell or a row, for any program: `csv.writer` would leave a lone \r as it is, which it
# does not read again, and what came after it would be a cell of its own.
_ENDS = re.compile('[",;\t\r\n]')


def line(cells: Iterable[str]) -> str:
    """Cells as a row of a CSV file."""
    return ",".join(map(_one, cells)) + "\n"


def _one(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"' if _ENDS.search(cell) else cell


def written(text: str) -> str:
    """A name as a cell that no spreadsheet computes."""
    return f"'{text}" if _FORMULA.match(text) else text


def read(cell: str) -> str:
    """The name that `written` made a cell of."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell
