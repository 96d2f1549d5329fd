"""Options that several commands have, and kinds of them that click does not have."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click


class NumberRange(click.FloatRange):
    """A number in a range. click's own lets NaN pass, which no comparison refuses."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        number = float(super().convert(value, param, ctx))
        if math.isnan(number):
            self.fail(f"{value} is no number; it takes {self._describe_range()}.", param, ctx)
        return number


def with_weights(command: Callable[..., Any]) -> Callable[..., Any]:
    """A file of weights in place of a run: --weights, --backbone and --recipe."""
    options = (
        click.option(
            "--weights",
            type=click.Path(path_type=Path),
            help="A file of weights in place of a run, of any project (torchvision, RSPNet, ...).",
        ),
        click.option("--backbone", help="With --weights.  [default: the one that fits]"),
        click.option(
            "--recipe", help="With --weights: whose clips to take.  [default: the one that fits]"
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command
