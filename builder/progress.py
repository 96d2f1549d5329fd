"""Who is told how far long work is."""

from collections.abc import Callable

Progress = Callable[[int, int, str], None]  # done, in all, what is being done


def silent(done: int, total: int, text: str) -> None:
    """Progress that nobody looks at."""
