"""Counts of a data set, as runs and stores that others made may state them."""

from typing import Any

_BY_REASON = ("failed", "warnings")


def are_counts(value: Any) -> bool:
    """Whether it is a table of whole numbers, and of two such tables, by reason."""
    if not isinstance(value, dict):
        return False
    tables = [value.get(name, {}) for name in _BY_REASON]
    if not all(isinstance(table, dict) for table in tables):
        return False
    numbers = [number for name, number in value.items() if name not in _BY_REASON]
    numbers += [number for table in tables for number in table.values()]
    return all(type(number) is int and 0 <= number < 1 << 63 for number in numbers)
