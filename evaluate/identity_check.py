"""What decides the numbers in a file, by which it is used again, and what computed them."""

from collections.abc import Mapping
from typing import Any

# Recorded beside the identity, and not compared: another machine's numbers differ in their last
# digits only.
COMPUTED_ON = ("device", "torch")


def first_difference(
    stored: Mapping[str, Any], wanted: Mapping[str, Any], digits: int = 40
) -> str | None:
    """ "clips 2, and now it would be 10", of the first name by alphabet whose values differ; None
    if all are the same, but for what they were computed on. `digits`: how much is shown of long
    values, such as hashes."""
    for key in sorted((stored.keys() | wanted.keys()) - set(COMPUTED_ON)):
        if stored.get(key) != wanted.get(key):
            before, now = (_shown(values.get(key), digits) for values in (stored, wanted))
            return f"{key} {before}, and now it would be {now}"
    return None


def all_machines(before: Mapping[str, Any], now: Mapping[str, str]) -> dict[str, str]:
    """What numbers were computed on of which some come from `before`, and the others from `now`:
    {"device": "cpu, cuda", "torch": "2.14.1"}."""
    both = {key: f"{before.get(key, '')}, {value}".split(", ") for key, value in now.items()}
    return {key: ", ".join(filter(None, dict.fromkeys(values))) for key, values in both.items()}


def _shown(value: object, digits: int) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= 40 else text[:digits]
