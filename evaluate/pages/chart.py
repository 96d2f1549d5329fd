"""Line charts as SVG, drawn by pure functions. Colours come from the page's CSS; each line also has
its own dash pattern."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby, pairwise
from typing import Any

from markupsafe import Markup

from evaluate.pages.template import safe

WIDTH, HEIGHT = 400, 214  # units of the viewBox, roughly pixels
_LEFT, _RIGHT, _TOP, _BOTTOM = 42, 12, 10, 24
_MOST = 240  # points of a line; longer lines are averaged
_DASHES = ("", "7 3", "2 3", "9 3 2 3")
Ends = tuple[float, float]  # lowest and highest value of the vertical axis


@dataclass(frozen=True)
class Line:
    """A line of a chart.

    Attributes:
        values: None: unknown
        spread: standard deviations, drawn as a band; None or empty: unknown
    """

    name: str
    values: Sequence[float | None]
    spread: Sequence[float | None] = ()

    @property
    def bounds(self) -> list[tuple[float, float] | None]:
        """One standard deviation below and above each value; None where unknown."""
        return [
            None if value is None or spread is None else (value - spread, value + spread)
            for value, spread in zip(
                self.values, self.spread or [None] * len(self.values), strict=True
            )
        ]


@dataclass(frozen=True)
class Level:
    """A value for comparison, drawn as a thin horizontal line.

    Attributes:
        is_left: whether its name is at the left end, where rising lines are lower
    """

    name: str
    value: float
    is_left: bool = False


@dataclass(frozen=True)
class Chart:
    """Lines over a common axis.

    Attributes:
        unit: unit of the values; "": none
        digits: decimals of values in text
        x_labels: labels of the x values, which are then drawn equally far apart
    """

    title: str
    unit: str
    x_name: str
    x: Sequence[float]
    lines: Sequence[Line]
    levels: Sequence[Level] = ()
    digits: int = 3
    x_labels: Sequence[str] = ()
    note: str = ""

    @property
    def places(self) -> list[float]:
        return [float(v) for v in (range(len(self.x)) if self.x_labels else self.x)]

    @property
    def summary(self) -> str:
        """The chart in words, for screen readers."""
        words = [self._line_in_words(line) for line in self.lines]
        words += [f"{level.name}: {self.say(level.value)}" for level in self.levels]
        return f"{self.title}. " + ". ".join(words) + "."

    def _line_in_words(self, line: Line) -> str:
        known = [(x, v) for x, v in zip(self._x_words(), line.values, strict=True) if v is not None]
        if not known:
            return f"{line.name}: no value"
        (first, at_first), (last, at_last) = known[0], known[-1]
        if len(known) == 1:
            return f"{line.name}: {self.say(at_first)} at {self.x_name} {first}"
        return (
            f"{line.name}: {self.say(at_first)} at {self.x_name} {first}, {self.say(at_last)} at "
            f"{self.x_name} {last}"
        )

    @property
    def latest(self) -> str:
        """The last values, in the form in which the page shows the values under the pointer."""
        several = len(self.lines) > 1
        values = [
            f"{line.name} " * several
            + self.say(line.values[-1], line.spread[-1] if line.spread else None)
            for line in self.lines
        ]
        return f"{self.x_name} {self._x_words()[-1]}: {', '.join(values)}"

    def _x_words(self) -> list[str]:
        return list(self.x_labels) or [f"{value:g}" for value in self.x]

    def say(self, value: float | None, spread: float | None = None) -> str:
        if value is None:
            return "–"
        around = "" if spread is None else f" ± {spread:.{self.digits}f}"
        return f"{value:.{self.digits}f}{around}{self.unit}"

    @property
    def data(self) -> dict[str, Any]:
        """The data with which the page shows the values under the pointer."""
        chart = thinned(self)
        ends = _ends(chart)
        return {
            "at": [round(_across(chart, place), 1) for place in chart.places],
            "x": chart._x_words(),
            "xName": self.x_name,
            "unit": self.unit,
            "digits": self.digits,
            "lines": [
                [
                    line.name,
                    [None if v is None else round(v, 6) for v in line.values],
                    [None if v is None else round(_down(v, ends), 1) for v in line.values],
                    [None if v is None else round(v, 6) for v in line.spread],
                ]
                for line in chart.lines
            ],
        }


def thinned(chart: Chart) -> Chart:
    """The chart with at most _MOST points per line: neighbouring points are averaged, and bands
    dropped."""
    count = len(chart.x)
    if count <= _MOST or chart.x_labels:
        return chart
    bounds = [round(i * count / _MOST) for i in range(_MOST + 1)]
    spans = list(pairwise(bounds))
    return replace(
        chart,
        x=[chart.x[last - 1] for _, last in spans],
        lines=[
            Line(line.name, [_mean(line.values[a:b]) for a, b in spans]) for line in chart.lines
        ],
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def draw_chart(chart: Chart) -> Markup:
    """The chart as an SVG element that scales with its container."""
    summary, chart = chart.summary, thinned(chart)
    ends = _ends(chart)
    pieces = [
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" tabindex="0" '
        f'aria-label="{safe(summary)}">'
    ]
    for tick in ticks(*ends):
        y = _down(tick, ends)
        pieces.append(f'<path class="grid" d="M{_LEFT} {y:.1f}H{WIDTH - _RIGHT}"/>')
        pieces.append(f'<text x="{_LEFT - 6}" y="{y + 3.5:.1f}" text-anchor="end">{tick:g}</text>')
    pieces += _x_ticks(chart)
    for level in chart.levels:
        y = _down(level.value, ends)
        pieces.append(f'<path class="level" d="M{_LEFT} {y:.1f}H{WIDTH - _RIGHT}"/>')
        pieces.append(
            f'<text class="levelname" x="{_LEFT if level.is_left else WIDTH - _RIGHT}" '
            f'y="{y - 4:.1f}" text-anchor="{"start" if level.is_left else "end"}">'
            f"{safe(level.name)}</text>"
        )
    pieces += [_band(chart, line, ends, i) for i, line in enumerate(chart.lines) if line.spread]
    pieces += [_path(chart, line, ends, i) for i, line in enumerate(chart.lines)]
    pieces.append('<path class="cursor" d=""/></svg>')
    return Markup("".join(pieces))


def swatch(index: int) -> Markup:
    """A sample of line number `index`, for a legend."""
    return Markup(
        f'<svg class="swatch" viewBox="0 0 26 8" aria-hidden="true"><path class="line l{index % 4}"'
        f' d="M0 4H26"{_dash(index)}/></svg>'
    )


def _dash(index: int) -> str:
    pattern = _DASHES[index % len(_DASHES)]
    return f' stroke-dasharray="{pattern}"' if pattern else ""


def _band(chart: Chart, line: Line, ends: Ends, index: int) -> str:
    """The band of one standard deviation around a line, with its gaps."""
    at = zip(map(partial(_across, chart), chart.places), line.bounds, strict=True)
    pieces = []
    for is_known, run in groupby(at, lambda one: one[1] is not None):
        known = [(x, bounds) for x, bounds in run if bounds is not None]
        if is_known and len(known) > 1:
            around = [f"{x:.1f} {_down(high, ends):.1f}" for x, (_, high) in known]
            around += [f"{x:.1f} {_down(low, ends):.1f}" for x, (low, _) in reversed(known)]
            pieces.append(f"M{'L'.join(around)}Z")
    return f'<path class="band l{index % 4}" d="{"".join(pieces)}"/>'


def _path(chart: Chart, line: Line, ends: Ends, index: int) -> str:
    """A line with gaps where values are unknown; a single point is drawn as a dot."""
    runs: list[list[str]] = [[]]
    for place, value in zip(chart.places, line.values, strict=True):
        if value is None:
            runs.append([])
        else:
            runs[-1].append(f"{_across(chart, place):.1f} {_down(value, ends):.1f}")
    joined = "".join(
        f"M{run[0]}h0" if len(run) == 1 else f"M{'L'.join(run)}" for run in runs if run
    )
    dotted = " dot" if all(len(run) <= 1 for run in runs) else ""
    dash = "" if dotted else _dash(index)
    return f'<path class="line l{index % 4}{dotted}" d="{joined}"{dash}/>'


def _x_ticks(chart: Chart) -> list[str]:
    if not chart.x:
        return []
    if chart.x_labels:
        marks = list(zip(chart.places, chart.x_labels, strict=True))
    else:
        marks = [
            (tick, f"{tick:g}")
            for tick in ticks(0.0, max(chart.x))
            if tick >= chart.x[0] or not tick
        ]
    y = HEIGHT - _BOTTOM + 15
    return [
        f'<text x="{_across(chart, place):.1f}" y="{y}" text-anchor="{_anchor(chart, place)}">'
        f"{safe(label)}</text>"
        for place, label in marks
    ]


def _anchor(chart: Chart, place: float) -> str:
    return "end" if _across(chart, place) > WIDTH - _RIGHT - 14 else "middle"


def _across(chart: Chart, place: float) -> float:
    """Horizontal position of an x value, from the left. The axis begins at 0."""
    low, high = (0.0, max(chart.places)) if chart.places else (0.0, 1.0)
    share = (place - low) / (high - low) if high > low else 0.5
    return _LEFT + share * (WIDTH - _LEFT - _RIGHT)


def _down(value: float, ends: Ends) -> float:
    low, high = ends
    share = min(max((value - low) / (high - low), 0.0), 1.0)
    return HEIGHT - _BOTTOM - share * (HEIGHT - _TOP - _BOTTOM)


def _ends(chart: Chart) -> Ends:
    """Lowest and highest value of the vertical axis, which includes 0."""
    known = [value for line in chart.lines for value in line.values if value is not None]
    known += [bounds[1] for line in chart.lines for bounds in line.bounds if bounds]
    known = [value for value in (*known, *(v.value for v in chart.levels)) if math.isfinite(value)]
    low, high = min([0.0, *known]), max([0.0, *known])
    return (1.06 * low, 1.06 * high) if high > low else (0.0, 1.0)


def ticks(low: float, high: float) -> list[float]:
    """Three to six round numbers from `low` (at most 0) to `high` (at least 0)."""
    raw = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(raw))
    step = min((m * power for m in (1, 2, 2.5, 5, 10)), key=lambda s: abs(s - raw))
    first, last = (int(end / step + math.copysign(1e-9, end)) for end in (low, high))
    return [round(i * step, 10) for i in range(first, last + 1)]
