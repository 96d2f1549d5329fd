"""Charts of the training, from the `log.jsonl` of a run."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluate.pages.chart import Chart, Level, Line
from trainer.run.log import LOG_FILE

_ENDLESS = 10**15  # steps; larger numbers are invalid
_LARGEST = 1e300


@dataclass(frozen=True)
class Training:
    """The training log of a run, as charts.

    Attributes:
        step: last step in the log; 0: none
        steps: steps of the whole run; 0: unknown
        broken: number of unreadable lines
    """

    charts: list[Chart]
    step: int
    steps: int
    broken: int


def read_training(run: Path) -> Training:
    """The charts of a run's log; none if there is no log."""
    path = run / LOG_FILE
    lines = path.read_bytes().splitlines() if path.is_file() else []
    parsed = [_parse(line) for line in lines]
    rows = [row for row in parsed if row]
    if not rows:
        return Training([], 0, 0, len(parsed))
    last = rows[-1]
    steps, broken = int(last.get("steps") or 0), len(parsed) - len(rows)
    return Training(_charts(rows), int(last["step"]), steps, broken)


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):  # truncated or damaged
        return None
    if not isinstance(row, dict):
        return None
    return row if _is_step(row.get("step")) and _is_step(row.get("steps") or 0) else None


def _is_step(value: Any) -> bool:
    return isinstance(value, int) and 0 <= value < _ENDLESS


def _charts(rows: list[dict[str, Any]]) -> list[Chart]:
    """The charts for which the log has numbers."""

    def chart(
        title: str, names: dict[str, str], unit: str = "", healthy: str = "", **more: Any
    ) -> Chart:
        """`names` has the name of each line by its key in the log; steps without any of them are
        left out. `healthy` is the key of a reference value."""
        scale = 100.0 if unit == " %" else 1.0
        there = [row for row in rows if any(_number(row.get(key)) is not None for key in names)]
        x = [row["step"] for row in there]
        every = [
            Line(n, [_number(row.get(key), scale) for row in there]) for key, n in names.items()
        ]
        lines = [line for line in every if any(value is not None for value in line.values)]
        level = _number(rows[-1].get(healthy))
        levels = [] if level is None else [Level("healthy", level)]
        return Chart(title, unit, "step", x, lines, levels, **more)

    charts = [
        chart("Loss", {"loss": "loss", "loss_appearance": "appearance", "loss_speed": "speed"}),
        chart(
            "Standard deviation of the embeddings",
            {"std_appearance": "appearance", "std_speed": "speed"},
            healthy="std_healthy",
            note="Near 1/sqrt(dim) is healthy; near 0, the encoder has collapsed.",
        ),
        chart(
            "Effective rank of the embeddings",
            {"rank_appearance": "appearance", "rank_speed": "speed"},
            healthy="rank_healthy",
            digits=0,
        ),
        chart(
            "Correlation of the features' channels",
            {"correlation": "mean square"},
            note="1: all channels are equal; 1 / (clips - 1) is expected by chance.",
        ),
        chart(
            "Speed in the speed space",
            {"speed_told": "told apart"},
            " %",
            note=(
                "Share of the speed embeddings' variance explained by playback speed; near 0, "
                "speed is not encoded."
            ),
            digits=1,
        ),
        chart(
            "Neighbours taken from the bank",
            {
                "neighbour_same_class": "same class",
                "neighbour_same_group": "same source recording",
            },
            " %",
            note=(
                "Share with the label or source recording of the clip; training does not use them."
            ),
            digits=1,
        ),
        chart(
            "Held-out groups of the training videos",
            {"probe_recall@1": "recall@1", "probe_knn@10": "vote of 10 nearest"},
            " %",
            note="These figures use labels; training does not.",
            digits=1,
        ),
        chart("Throughput", {"clips_per_second": "clips/s"}, " clips/s", digits=0),
        chart("Data wait", {"data_wait": "share of the time"}, " %", digits=1),
    ]
    return [one for one in charts if one.lines]


def _number(value: Any, scale: float = 1.0) -> float | None:
    if isinstance(value, int | float) and -_LARGEST < value < _LARGEST:  # false for NaN
        return float(value) * scale
    return None
