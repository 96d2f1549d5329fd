"""Lines that several processes print once."""

from collections.abc import Callable

import click

Say = Callable[[str], None]


def say_on(rank: int) -> Say:
    """What prints a line on rank 0, and nothing on the others."""
    return click.echo if rank == 0 else lambda text: None
