"""How training went: charts from `log.jsonl` of a run."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluate.pages.chart import Chart, Level, Line
from trainer.run.log import LOG_FILE

_ENDLESS = 10**15  # steps
_LARGEST = 1e300


@dataclass(frozen=True)
class Training:
    charts: list[Chart]
    step: int  # the last one in the log; 0: none
    steps: int  # of the whole run, as the log says; 0: unknown
    last: dict[str, Any]
    broken: int  # lines that cannot be read


def read(run: Path) -> Training:
    """The charts of a run's log; none where there is no log."""
    path = run / LOG_FILE
    lines = path.read_bytes().splitlines() if path.is_file() else []
    parsed = [_parse(line) for line in lines]
    rows = [row for row in parsed if row]
    if not rows:
        return Training([], 0, 0, {}, len(parsed))
    last = rows[-1]
    charts = [chart for chart in _charts(rows) if chart.lines]
    return Training(
        charts, int(last["step"]), int(last.get("steps") or 0), last, len(parsed) - len(rows)
    )


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):  # cut while it was written, or damaged: no UTF-8
        return None
    if not isinstance(row, dict):
        return None
    return row if _is_step(row.get("step")) and _is_step(row.get("steps") or 0) else None


def _is_step(value: Any) -> bool:
    return isinstance(value, int) and 0 <= value < _ENDLESS


def _charts(rows: list[dict[str, Any]]) -> list[Chart]:
    last = rows[-1]
    x = [row["step"] for row in rows]

    def lines(*names: tuple[str, str], scale: float = 1.0) -> list[Line]:
        every = [Line(said, [_number(row.get(key), scale) for row in rows]) for key, said in names]
        return [line for line in every if any(value is not None for value in line.values)]

    def healthy(key: str) -> list[Level]:
        value = _number(last.get(key))
        return [] if value is None else [Level("healthy", value)]

    loss = (("loss", "loss"), ("loss_appearance", "appearance"), ("loss_speed", "speed"))
    std = (("std_appearance", "appearance"), ("std_speed", "speed"))
    rank = (("rank_appearance", "appearance"), ("rank_speed", "speed"))
    neighbour = (
        ("neighbour_same_class", "same class"),
        ("neighbour_same_group", "same source recording"),
    )
    return [
        Chart("Loss", "", "step", x, lines(*loss)),
        Chart(
            "Standard deviation of the embeddings",
            "",
            "step",
            x,
            lines(*std),
            healthy("std_healthy"),
            note="Near 1/sqrt(dim) is healthy, near 0 is a collapsed encoder.",
        ),
        Chart(
            "Effective rank of the embeddings",
            "",
            "step",
            x,
            lines(*rank),
            healthy("rank_healthy"),
            digits=0,
        ),
        Chart(
            "Correlation of the features' channels",
            "",
            "step",
            x,
            lines(("correlation", "mean square")),
            note="1: all channels say the same; by chance 1 / (clips - 1).",
        ),
        Chart(
            "Speed in the speed space",
            " %",
            "step",
            x,
            lines(("speed_told", "told apart"), scale=100.0),
            note="Share of the embeddings' variance that is between playback speeds; "
            "near 0 they know none.",
            digits=1,
        ),
        Chart(
            "Neighbours taken from the bank",
            " %",
            "step",
            x,
            lines(*neighbour, scale=100.0),
            digits=1,
            note="Share whose label or source is that of the clip; training uses no label.",
        ),
        Chart(
            "Throughput", " clips/s", "step", x, lines(("clips_per_second", "clips/s")), digits=0
        ),
        Chart(
            "Data wait",
            " %",
            "step",
            x,
            lines(("data_wait", "share of the time"), scale=100.0),
            digits=1,
        ),
    ]


def _number(value: Any, scale: float = 1.0) -> float | None:
    if isinstance(value, int | float) and -_LARGEST < value < _LARGEST:  # no NaN is
        return float(value) * scale
    return None
