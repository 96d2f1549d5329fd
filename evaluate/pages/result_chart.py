"""The chart of a table of results."""

from dataclasses import replace

from evaluate.pages.chart import Chart, Level, Line
from evaluate.pages.figures import EncoderRow
from evaluate.probe.few_labels import ALL_LABELS

_RANK = "recall@"
_SHOT = "-shot"
_BY_LABELS = "Accuracy by labels"


def chart_of(columns: list[str], rows: list[EncoderRow]) -> Chart | None:
    """Recall against k, or accuracy against the number of labelled videos per class, if there are
    at least three points."""
    ranks = {c: c.removeprefix(_RANK) for c in columns if c.startswith(_RANK)}
    if len(ranks) >= 3:
        return _line_chart("Recall at k", "k", ranks, columns, rows)
    known = [c for i, c in enumerate(columns) if any(r.cells[i].value is not None for r in rows)]
    shots = {c: c.removesuffix(_SHOT) for c in known if c.endswith(_SHOT)}
    if len(shots) >= 3:
        chart = _line_chart(_BY_LABELS, "labels per class", shots, columns, rows)
        note = "The band is ± one standard deviation over the draws."
        return replace(chart, levels=_all_labels(columns, rows), note=note)
    return None


def _all_labels(columns: list[str], rows: list[EncoderRow]) -> list[Level]:
    """The accuracy of the first encoder with all labels, for comparison."""
    if ALL_LABELS not in columns or not rows:
        return []
    value = rows[0].cells[columns.index(ALL_LABELS)].value
    return [] if value is None else [Level(f"{rows[0].encoder}, all labels", value, is_left=True)]


def _line_chart(
    title: str, x_name: str, labels: dict[str, str], columns: list[str], rows: list[EncoderRow]
) -> Chart:
    """A chart with a line for every encoder over the columns in `labels`, whose labels are whole
    numbers."""
    at = [columns.index(column) for column in labels]
    lines = []
    for row in rows:
        cells = [row.cells[i] for i in at]
        spread = [cell.spread for cell in cells] if title == _BY_LABELS else []
        lines.append(Line(row.encoder, [cell.value for cell in cells], spread))
    return Chart(
        title,
        " %",
        x_name,
        [float(label) for label in labels.values()],
        [line for line in lines if any(v is not None for v in line.values)],
        digits=1,
        x_labels=list(labels.values()),
    )
