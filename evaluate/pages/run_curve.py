"""The curve of a run as charts: figures by step, and scores without labels under them."""

from evaluate.curve import Curve, CurvePoint
from evaluate.label_free import SCORES
from evaluate.pages.chart import Chart, Line

_LINES = 4  # of a chart: so many colours there are


def figure_charts(curve: Curve) -> list[Chart]:
    """Percent by step, at most _LINES columns a chart."""
    points = _points(curve)
    x, note = [point.step for point in points], _note(curve)
    charts = []
    for first in range(0, len(curve.columns), _LINES):
        lines = []
        for column in curve.columns[first : first + _LINES]:
            spread = [point.spread.get(column) for point in points]
            values = [point.figures.get(column) for point in points]
            has_band = any(one is not None for one in spread)
            lines.append(Line(column, values, spread if has_band else ()))
        if any(line.spread for line in lines):
            note += " Bands: one standard deviation on either side."
        title = "Figures by step" + (" (more)" if first else "")
        charts.append(Chart(title, " %", "step", x, lines, digits=1, note=note.strip()))
    return charts


def score_charts(curve: Curve) -> list[Chart]:
    """A chart of each score without labels, whose units differ."""
    points = _points(curve)
    x = [point.step for point in points]
    charts = []
    for name in curve.scores:
        score = SCORES[name]
        line = Line(score.title, [point.scores.get(name) for point in points])
        title, meaning = _sentence(score.title), _sentence(score.meaning)
        charts.append(Chart(title, "", "step", x, [line], digits=score.digits, note=f"{meaning}."))
    return charts


def _points(curve: Curve) -> list[CurvePoint]:
    """The checkpoints, after the network that is fairest to compare them with: the last of those
    before training, whose batch norm knows the clips."""
    return [*curve.starts[-1:], *curve.points]


def _note(curve: Curve) -> str:
    return f"Step 0: {curve.starts[-1].name}." if curve.starts else ""


def _sentence(words: str) -> str:
    return words[0].upper() + words[1:]
