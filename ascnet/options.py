"""Kinds of options that click does not have."""

import math
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
