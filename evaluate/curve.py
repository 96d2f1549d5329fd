"""The curve of a run: results of its kept checkpoints by training step."""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Any

from builder.text_table import aligned
from evaluate.encoders import TRAINED
from evaluate.label_free import SCORES
from evaluate.protocol import Protocol
from evaluate.results import figure_text

_TAKEN = tuple(one.name for one in fields(Protocol))
# The fields of a protocol that differ between the checkpoints of a run.
_OF_CHECKPOINT = ("checkpoint_sha256", "step", "milestone")
# By task: the columns that a curve may show and their titles; it shows the first with values.
_SHOWN = {
    "retrieval": {"recall@1": "recall@1"},
    "linear": {"top1": "linear top-1"},
    "linear-on-the-fly": {"top1": "linear top-1 on augmented clips"},
    "attentive-on-the-fly": {"top1": "attentive top-1 on augmented clips"},
    "knn": {f"knn@{k}": f"knn@{k}" for k in (10, 20, 100, 200)},
    "fewshot": {f"{n}-shot": f"{n}-shot" for n in (8, 4, 2, 1)},
    "finetune": {"top1": "fine-tuned top-1"},
}


@dataclass(frozen=True)
class CurvePoint:
    """One checkpoint, or a network before training.

    Attributes:
        name: the step, or the name of the network before training
        step: training step; 0: before training
        figures: percent, by column
        spread: standard deviation of a figure over splits or draws; None: not known
        scores: label-free scores, by their names in label_free.SCORES
    """

    name: str
    step: int
    figures: dict[str, float | None] = field(default_factory=dict)
    spread: dict[str, float | None] = field(default_factory=dict)
    scores: dict[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Curve:
    """Figures of several checkpoints of a run, on the same clips of one data set.

    Attributes:
        split: name of the split, or "all"
        columns: titles of the figures
        starts: networks before training
        points: checkpoints, by step
        shown: (question, step) of every result that the curve is made of
    """

    dataset: str
    factor: str
    split: str
    columns: list[str]
    starts: list[CurvePoint]
    points: list[CurvePoint]
    shown: frozenset[tuple[str, int]] = frozenset()

    def shows(self, result: dict[str, Any]) -> bool:
        """Whether the curve includes this result."""
        return (_key(result), result["protocol"].get("step")) in self.shown

    @property
    def title(self) -> str:
        """The title, such as "The curve of the run on shapes, split 1"."""
        factor = f" ({self.factor})" if self.factor else ""
        split = "all splits" if self.split == "all" else f"split {self.split}"
        return f"The curve of the run on {self.dataset}{factor}, {split}"

    @property
    def scores(self) -> list[str]:
        """Names of the label-free scores that at least one checkpoint has."""
        of_points = [point.scores for point in self.points]
        return [n for n in SCORES if any(scores.get(n) is not None for scores in of_points)]


def curves_of(results: Iterable[dict[str, Any]]) -> list[Curve]:
    """The curves in these results: one for each data set, factor, split and kind of clips with
    figures of at least two checkpoints."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for result in results:
        if result["task"] in _SHOWN and result["protocol"].get("step"):
            taken = {name: result["protocol"].get(name) for name in _TAKEN}
            groups.setdefault(json.dumps([*_group(result), taken]), []).append(result)
    curves = [_curve(group) for group in groups.values()]
    return [curve for curve in curves if len(curve.points) > 1]


def _curve(results: list[dict[str, Any]]) -> Curve:
    """The curve of results on the same data set and clips."""
    often = Counter(map(_question, results))
    order = list(_SHOWN)
    results = sorted(
        results, key=lambda r: (order.index(r["task"]), -often[_question(r)], _question(r))
    )
    columns: dict[str, str] = {}  # {question: title}
    points: dict[str, CurvePoint] = {}
    for question in dict.fromkeys(map(_question, results)):
        same = [result for result in results if _question(result) == question]
        shown = _shown_column(same)
        if shown is None:
            continue
        column, title = shown
        title += "".join(f", {word}" for word in _words(same[0]["protocol"]))
        while title in columns.values():
            title += "'"
        columns[question] = title
        for result in same:
            for row, figures in result["results"].items():
                if ", " in row:  # a second row of the encoder, such as ", no siblings"
                    continue
                step = int(result["protocol"]["step"]) if row == TRAINED else 0
                name = str(step) if step else row
                point = points.setdefault(name, CurvePoint(name, step))
                point.figures[title] = figures.get(column)
                point.spread[title] = ((result.get("spread") or {}).get(row) or {}).get(column)
                point.scores.update(scores_in(result).get(row) or {})
    first = results[0]
    trained = sorted((p for p in points.values() if p.step), key=lambda p: p.step)
    return Curve(
        dataset=str(first["dataset"]),
        factor=str(first["factor"] or ""),
        split=str(first["split"]),
        columns=list(columns.values()),
        starts=[point for point in points.values() if not point.step],
        points=trained,
        shown=frozenset(
            (_key(r), r["protocol"]["step"]) for r in results if _question(r) in columns
        ),
    )


def scores_in(result: dict[str, Any]) -> dict[str, dict[str, float | None]]:
    """The label-free scores of every row of a result. They are the same in all its splits."""
    details = next((split.get("details") or {} for split in result["splits"].values()), {})
    return {
        row: dict(detail["label_free"])
        for row, detail in details.items()
        if (detail or {}).get("label_free")
    }


def curve_table(curve: Curve) -> str:
    """A curve as a text table with a row for each checkpoint; networks before training come
    first."""
    titles = [SCORES[name].title for name in curve.scores]
    rows = [["step", *curve.columns, *titles]]
    for point in (*curve.starts, *curve.points):
        figures = [figure_text(point.figures.get(c), point.spread.get(c)) for c in curve.columns]
        scores = [score_text(name, point.scores.get(name)) for name in curve.scores]
        rows.append([point.name, *figures, *scores])
    lines = "\n".join(f"  {line}" for line in aligned(rows, range(1, len(rows[0]))))
    words = [f"  {SCORES[name].title}: {SCORES[name].meaning}" for name in curve.scores]
    return "\n".join([f"{curve.title} (figures: %)", lines, *words])


def score_text(name: str, value: float | None) -> str:
    """A label-free score as text; "-" for None."""
    return "-" if value is None else f"{value:.{SCORES[name].digits}f}"


def _question(result: dict[str, Any]) -> str:
    """The question of a result as text: its task and protocol, without what differs between
    checkpoints."""
    protocol = {k: v for k, v in result["protocol"].items() if k not in _OF_CHECKPOINT}
    return json.dumps([result["task"], protocol], sort_keys=True)


def _group(result: dict[str, Any]) -> list[Any]:
    return [result["dataset"], result["factor"], result["split"]]


def _key(result: dict[str, Any]) -> str:
    return json.dumps([*_group(result), _question(result)])


def _shown_column(results: list[dict[str, Any]]) -> tuple[str, str] | None:
    """The column that the curve shows, with its title: the first for which all results have a
    figure."""
    for column, title in _SHOWN[results[0]["task"]].items():
        rows = [result["results"].get(TRAINED) or {} for result in results]
        if all(row.get(column) is not None for row in rows):
            return column, title
    return None


def _words(protocol: dict[str, Any]) -> list[str]:
    """The choices of a protocol that differ from the defaults, for the title of a column."""
    centring, probe = protocol.get("centring"), protocol.get("probe") or {}
    words = [str(centring)] if centring not in (None, "none") else []
    words += ["SGD"] if probe.get("solver") == "sgd" else []
    return words + (["raw"] if probe.get("standardise") is False else [])
