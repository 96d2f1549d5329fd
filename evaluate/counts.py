"""Check the counts of a data set in files that may come from elsewhere."""

from typing import Any

_BY_REASON = ("failed", "warnings")


def are_counts(value: Any) -> bool:
    """Whether `value` is a valid table of counts: non-negative whole numbers, and a table of such
    numbers by reason for "failed" and "warnings"."""
    if not isinstance(value, dict):
        return False
    tables = [value.get(name, {}) for name in _BY_REASON]
    if not all(isinstance(table, dict) for table in tables):
        return False
    numbers = [number for name, number in value.items() if name not in _BY_REASON]
    numbers += [number for table in tables for number in table.values()]
    return all(type(number) is int and 0 <= number < 1 << 63 for number in numbers)
