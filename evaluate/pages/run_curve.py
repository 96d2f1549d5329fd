"""Charts of the curve of a run: figures by step, and label-free scores."""

from evaluate.curve import Curve, CurvePoint
from evaluate.label_free import SCORES
from evaluate.pages.chart import Chart, Line

_LINES = 4  # lines of a chart, as many as colours


def figure_charts(curve: Curve) -> list[Chart]:
    """Charts of the figures in percent by step, with at most _LINES columns each."""
    points = _points(curve)
    x = [point.step for point in points]
    charts = []
    for first in range(0, len(curve.columns), _LINES):
        lines = []
        for column in curve.columns[first : first + _LINES]:
            spread = [point.spread.get(column) for point in points]
            values = [point.figures.get(column) for point in points]
            has_band = any(one is not None for one in spread)
            lines.append(Line(column, values, spread if has_band else ()))
        bands = "Bands: ± one standard deviation." if any(line.spread for line in lines) else ""
        note = " ".join(filter(None, (_note(curve), bands)))
        title = "Figures by step" + (" (more)" if first else "")
        charts.append(Chart(title, " %", "step", x, lines, digits=1, note=note))
    return charts


def score_charts(curve: Curve) -> list[Chart]:
    """A chart for each label-free score, as their units differ."""
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
    """The checkpoints, preceded by the fairest network before training: the last one, which has
    batch-norm statistics of training clips where available."""
    return [*curve.starts[-1:], *curve.points]


def _note(curve: Curve) -> str:
    return f"Step 0: {curve.starts[-1].name}." if curve.starts else ""


def _sentence(words: str) -> str:
    return words[0].upper() + words[1:]
