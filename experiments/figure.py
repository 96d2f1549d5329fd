"""An SVG with a small plot for every figure, a row for every variant, and a dot for every seed."""

import math
import statistics
from collections.abc import Mapping, Sequence
from html import escape

from experiments.table import Results, Seeds, by_seed, names_of

_COLUMNS = 3
_LABELS, _PLOT, _GAP, _ROW, _HEAD, _FOOT = 170, 190, 24, 18, 40, 30  # pixels
_DOT, _TEXT, _LINE = "#1f5fa8", "#222222", "#bbbbbb"


def figure(
    results: Results, variants: Sequence[str], shown: Mapping[str, str] | None = None
) -> str:
    """Draw the plots of all data sets, one below the other; `shown`: only of these figures, by
    their titles. The horizontal axis is in percent; a bar marks the mean."""
    parts: list[str] = []
    top, columns = 0, 1
    for data in dict.fromkeys(result["data"] for result in results):
        titles = {name: title for title, name in (shown or {}).items()}
        names = list(titles) or names_of(results, data)
        rows = [v for v in variants if any(by_seed(results, data, v, name) for name in names)]
        height = _HEAD + _ROW * len(rows) + _FOOT
        for number, name in enumerate(names):
            line, column = divmod(number, _COLUMNS)
            if column == 0:
                y = top + line * height + _HEAD
                for i, variant in enumerate(rows):
                    parts.append(_text(_LABELS - 8, y + _ROW * (i + 0.5), variant, "end"))
            left = _LABELS + column * (_PLOT + _GAP)
            seeds = [by_seed(results, data, variant, name) for variant in rows]
            parts += _plot(left, top + line * height, titles.get(name, name), seeds)
            columns = max(columns, column + 1)
        top += math.ceil(len(names) / _COLUMNS) * height
    width = _LABELS + columns * (_PLOT + _GAP)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {max(top, 1)}" '
        f'width="{width}" height="{max(top, 1)}" font-family="sans-serif" font-size="11">\n'
        f'<rect width="100%" height="100%" fill="white"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _plot(left: float, top: float, name: str, rows: Sequence[Seeds]) -> list[str]:
    every = [value for row in rows for value in row.values()]
    low, high = limits(every)
    y, bottom = top + _HEAD, top + _HEAD + _ROW * len(rows)
    parts = [_text(left, top + _HEAD - 12, name, "start", "bold")]

    def x(value: float) -> float:
        return left + _PLOT * (value - low) / (high - low)

    for value in (low, (low + high) / 2, high):
        parts.append(_stroke(x(value), y, x(value), bottom, _LINE))
        parts.append(_text(x(value), bottom + 12, f"{value:g}", "middle"))
    for number, row in enumerate(rows):
        middle = y + _ROW * (number + 0.5)
        for seed, value in row.items():
            title = f"<title>seed {seed}: {value:.1f} %</title>"
            dot = f'<circle cx="{x(value):.1f}" cy="{middle:.1f}" r="3" fill="{_DOT}"'
            parts.append(f'{dot} fill-opacity="0.6">{title}</circle>')
        if row:
            mean = x(statistics.fmean(row.values()))
            parts.append(_stroke(mean, middle - 6, mean, middle + 6, _TEXT))
    return parts


def limits(values: Sequence[float]) -> tuple[float, float]:
    """Limits of the axis: the multiples of 10 around all values, at least 10 apart."""
    low = 10 * math.floor(min(values) / 10)
    return low, max(low + 10, 10 * math.ceil(max(values) / 10))


def _text(x: float, y: float, text: str, anchor: str, weight: str = "normal") -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" dominant-baseline="middle"'
    return f'<text {place} font-weight="{weight}" fill="{_TEXT}">{escape(text)}</text>'


def _stroke(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {ends} stroke="{colour}"/>'
