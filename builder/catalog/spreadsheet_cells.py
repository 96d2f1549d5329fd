"""Escape cells of CSV files: spreadsheets take text that begins with =, +, - or @ for a formula, so
such a name is written with an apostrophe before it, their own mark of text, and read without."""

import re
from collections.abc import Iterable

# Spreadsheets of some languages treat full-width signs the same.
_FORMULA = re.compile("'*[=+@\t\r\n＝＋－＠-]")
# Characters that end a cell or a row in some program. (`csv.writer` does not quote a lone \r, which
# `csv.reader` then takes for the end of a row.)
_ENDS = re.compile('[",;\t\r\n]')


def line(cells: Iterable[str]) -> str:
    """Join cells to a row of a CSV file."""
    return ",".join(map(_one, cells)) + "\n"


def _one(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"' if _ENDS.search(cell) else cell


def written(text: str) -> str:
    """A name as a cell that no spreadsheet evaluates as a formula."""
    return f"'{text}" if _FORMULA.match(text) else text


def read(cell: str) -> str:
    """The name in a cell made by `written`."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell
