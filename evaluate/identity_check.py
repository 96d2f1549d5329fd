"""Compare the identity of a file, that is, everything that determines the numbers in it, with what
is wanted now."""

from collections.abc import Mapping
from typing import Any

# Recorded but not compared: results of different machines differ only in the last digits.
COMPUTED_ON = ("device", "torch")
_CALLED = {"checkpoint_sha256": "weights of SHA-256"}


def first_difference(
    stored: Mapping[str, Any], wanted: Mapping[str, Any], digits: int = 40
) -> str | None:
    """The first key, in alphabetical order, whose values differ, as "clips 2, and now it would be
    10"; None if all are equal. COMPUTED_ON is not compared. Long values, such as hashes, are cut to
    `digits` characters."""
    for key in sorted((stored.keys() | wanted.keys()) - set(COMPUTED_ON)):
        if stored.get(key) != wanted.get(key):
            before, now = (_shown(values.get(key), digits) for values in (stored, wanted))
            return f"{_CALLED.get(key, key)} {before}, and now it would be {now}"
    return None


def all_machines(before: Mapping[str, Any], now: Mapping[str, str]) -> dict[str, str]:
    """The devices and torch versions of numbers of which some were computed `before` and others
    `now`, such as {"device": "cpu, cuda", "torch": "2.14.1"}."""
    both = {key: f"{before.get(key, '')}, {value}".split(", ") for key, value in now.items()}
    return {key: ", ".join(filter(None, dict.fromkeys(values))) for key, values in both.items()}


def _shown(value: object, digits: int) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= 40 else text[:digits]
