"""Callbacks that report the progress of long work."""

from collections.abc import Callable

Progress = Callable[[int, int, str], None]  # amount done, total, what is being done


def silent(done: int, total: int, text: str) -> None:
    """Report nothing."""
