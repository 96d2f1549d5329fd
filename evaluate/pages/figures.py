"""Figures of encoders, as cells of a table."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """A cell of a table.

    Attributes:
        value: percent; None: not available
        spread: standard deviation of the value
    """

    text: str
    value: float | None
    spread: float | None = None


@dataclass(frozen=True)
class EncoderRow:
    """The figures of one encoder."""

    encoder: str
    cells: list[Figure]


def cell(value: float | None, spread: float | None = None) -> Figure:
    """A figure as a cell of a table."""
    if value is None:
        return Figure("–", None)
    text = f"{value:.1f}" + ("" if spread is None else f" ± {spread:.1f}")
    return Figure(text, float(value), spread)
