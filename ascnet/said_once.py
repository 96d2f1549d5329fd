"""Print lines once, although several processes run."""

from collections.abc import Callable

import click

Say = Callable[[str], None]


def say_on(rank: int) -> Say:
    """A function that prints a line on rank 0, and does nothing on other ranks."""
    return click.echo if rank == 0 else lambda text: None
