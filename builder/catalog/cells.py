"""Cells of CSV files: a spreadsheet computes what begins with =, +, - or @, so a name that does is
written with an apostrophe before it, as spreadsheets themselves show text, and read without."""

import re

_FORMULA = re.compile("'*[=+@\t\r-]")


def written(text: str) -> str:
    """A name as a cell that no spreadsheet computes."""
    return f"'{text}" if _FORMULA.match(text) else text


def read(cell: str) -> str:
    """The name that `written` made a cell of."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell
