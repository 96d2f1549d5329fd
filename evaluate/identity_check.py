"""What decides the numbers in a file; it is used again only if all of it is the same."""

from collections.abc import Mapping
from typing import Any


def first_difference(
    stored: Mapping[str, Any], wanted: Mapping[str, Any], digits: int = 40
) -> str | None:
    """ "clips 2, and now it would be 10", of the first name by alphabet whose values differ; None
    if all are the same. `digits`: how much is shown of long values, such as hashes."""
    for key in sorted(stored.keys() | wanted.keys()):
        if stored.get(key) != wanted.get(key):
            before, now = (_shown(values.get(key), digits) for values in (stored, wanted))
            return f"{key} {before}, and now it would be {now}"
    return None


def _shown(value: object, digits: int) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= 40 else text[:digits]
