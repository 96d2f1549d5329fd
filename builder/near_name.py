"""Names that are nearly what somebody wrote."""

import difflib
from collections.abc import Iterable


def near_name(written: str, names: Iterable[str]) -> str | None:
    """The one of `names` that is nearest, whatever its case and its '-' and '_'; None if none is
    near."""
    folded = {_folded(name): name for name in names}
    near = difflib.get_close_matches(_folded(written), folded, 1)
    return folded[near[0]] if near else None


def did_you_mean(written: str, names: Iterable[str]) -> str:
    """A sentence with a space before it, for the end of a message; "" if no name is near."""
    near = near_name(written, names)
    return "" if near is None else f" Did you mean {near}?"


def _folded(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")
