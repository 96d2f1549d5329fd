"""The curve of a run: the figures of its kept checkpoints, in order, from their results."""

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

_TAKEN = tuple(one.name for one in fields(Protocol))  # of a video, and of the network
# What of a protocol differs from checkpoint to checkpoint.
_OF_CHECKPOINT = ("checkpoint_sha256", "step", "milestone")
# The column of each task that the curve shows, and its name there. The first that has a value.
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
    """One checkpoint, or a network that is not trained.

    Attributes:
        name: the step, or the name of the network
        step: 0: of a network that is not trained
        figures: percent, by column
        spread: standard deviation of a figure over splits or draws, where it has one
        scores: without labels, by name (label_free.SCORES)
    """

    name: str
    step: int
    figures: dict[str, float | None] = field(default_factory=dict)
    spread: dict[str, float | None] = field(default_factory=dict)
    scores: dict[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Curve:
    """Figures of several checkpoints of a run on one data set, of the same clips.

    Attributes:
        split: a name, or "all"
        columns: of the figures
        starts: the networks before training
        points: by step
        shown: what was asked, and the step
    """

    dataset: str
    factor: str
    split: str
    columns: list[str]
    starts: list[CurvePoint]
    points: list[CurvePoint]
    shown: frozenset[tuple[str, int]] = frozenset()

    def shows(self, result: dict[str, Any]) -> bool:
        """Whether a result is one of those that the curve was made of."""
        return (_key(result), result["protocol"].get("step")) in self.shown

    @property
    def title(self) -> str:
        """ "The curve of the run on shapes, split 1"."""
        factor = f" ({self.factor})" if self.factor else ""
        split = "all splits" if self.split == "all" else f"split {self.split}"
        return f"The curve of the run on {self.dataset}{factor}, {split}"

    @property
    def scores(self) -> list[str]:
        """Names of the scores without labels that some checkpoint has."""
        of_points = [point.scores for point in self.points]
        return [n for n in SCORES if any(scores.get(n) is not None for scores in of_points)]


def curves_of(results: Iterable[dict[str, Any]]) -> list[Curve]:
    """A curve of each data set, factor, split and kind of clips of which there are figures of two
    checkpoints or more."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for result in results:
        if result["task"] in _SHOWN and result["protocol"].get("step"):
            taken = {name: result["protocol"].get(name) for name in _TAKEN}
            groups.setdefault(json.dumps([*_of(result), taken]), []).append(result)
    curves = [_curve(group) for group in groups.values()]
    return [curve for curve in curves if len(curve.points) > 1]


def _curve(results: list[dict[str, Any]]) -> Curve:
    """`results`: of the same data set and clips."""
    often = Counter(map(_asked, results))
    order = list(_SHOWN)
    results = sorted(results, key=lambda r: (order.index(r["task"]), -often[_asked(r)], _asked(r)))
    columns: dict[str, str] = {}  # by what was asked
    points: dict[str, CurvePoint] = {}
    for asked in dict.fromkeys(map(_asked, results)):
        same = [result for result in results if _asked(result) == asked]
        shown = _shown_column(same)
        if shown is None:
            continue
        column, title = shown
        title += "".join(f", {word}" for word in _words(same[0]["protocol"]))
        while title in columns.values():
            title += "'"
        columns[asked] = title
        for result in same:
            for row, figures in result["results"].items():
                if ", " in row:  # a gallery without siblings
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
        shown=frozenset((_key(r), r["protocol"]["step"]) for r in results if _asked(r) in columns),
    )


def scores_in(result: dict[str, Any]) -> dict[str, dict[str, float | None]]:
    """The scores without labels of every row of a result; they are the same in all its splits."""
    details = next((split.get("details") or {} for split in result["splits"].values()), {})
    return {
        row: dict(own["label_free"])
        for row, own in details.items()
        if (own or {}).get("label_free")
    }


def curve_table(curve: Curve) -> str:
    """A curve as a table: a row for every checkpoint, those before training first."""
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
    """A score, to the digits that say something."""
    return "-" if value is None else f"{value:.{SCORES[name].digits}f}"


def _asked(result: dict[str, Any]) -> str:
    """What is the same for all checkpoints of a curve."""
    protocol = {k: v for k, v in result["protocol"].items() if k not in _OF_CHECKPOINT}
    return json.dumps([result["task"], protocol], sort_keys=True)


def _of(result: dict[str, Any]) -> list[Any]:
    return [result["dataset"], result["factor"], result["split"]]


def _key(result: dict[str, Any]) -> str:
    return json.dumps([*_of(result), _asked(result)])


def _shown_column(results: list[dict[str, Any]]) -> tuple[str, str] | None:
    """The first column that all the results have a figure in; its title."""
    for column, title in _SHOWN[results[0]["task"]].items():
        rows = [result["results"].get(TRAINED) or {} for result in results]
        if all(row.get(column) is not None for row in rows):
            return column, title
    return None


def _words(protocol: dict[str, Any]) -> list[str]:
    """What is not the usual, of what is asked of stored features."""
    centring, probe = protocol.get("centring"), protocol.get("probe") or {}
    words = [str(centring)] if centring not in (None, "none") else []
    words += ["SGD"] if probe.get("solver") == "sgd" else []
    return words + (["raw"] if probe.get("standardise") is False else [])
