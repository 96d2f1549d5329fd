"""Results of a run as tables: the trained encoder, its baselines and published figures."""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from evaluate.curve import Curve, curves_of, score_text, scores_in
from evaluate.label_free import SCORES, Score
from evaluate.pages.chart import Chart
from evaluate.pages.facts import flat, without_secrets
from evaluate.pages.figures import EncoderRow, Figure, cell
from evaluate.pages.result_chart import chart_of
from evaluate.published import NOTE, PublishedFigures, lacks, published
from evaluate.results import (
    CALIBRATED_IS,
    TITLES,
    cautions,
    drawn_text,
    left_out_text,
    not_counted,
    seen_text,
)

_ENCODERS = ("trained", "untrained", "initial weights", "calibrated")
_OF_OTHERS = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError)


@dataclass(frozen=True)
class Predictions:
    """The classes that the trained encoder's classifier predicts for the test videos of a split.

    Attributes:
        file: name of the file in results/
        checkpoint: sha256 of the checkpoint
        classes: names by label
        labels: predicted labels, in the order of the data set
    """

    file: str
    task: str
    dataset: str
    split: str
    part: str
    checkpoint: str
    classes: list[str]
    labels: list[int]


@dataclass(frozen=True)
class Table:
    """A file of results/.

    Attributes:
        factor: factor that replaces the classes; "": none
        by_split: rows for each split, if there are several
        counts: a sentence with the numbers of videos
        left_out: why published figures are left out; "": they are not
        weights: file of the weights that were evaluated; "": none
        encoder: FILE.py:NAME that was evaluated; "": none
        predictions: for the splits that have any
        leads: whether it is the first table of its task and data set
        missing: which baseline is missing, and why; "": none
        milestone: step of a checkpoint that is not the last; 0: it is the last
    """

    file: str
    title: str
    task: str
    dataset: str
    factor: str
    columns: list[str]
    rows: list[EncoderRow]
    by_split: list[tuple[str, list[EncoderRow]]]
    published: list[tuple[PublishedFigures, list[Figure]]]
    counts: str
    protocol: dict[str, str]
    warning: str
    chart: Chart | None
    left_out: str = ""
    weights: str = ""
    encoder: str = ""
    predictions: list[Predictions] = field(default_factory=list)
    leads: bool = True
    missing: str = ""
    milestone: int = 0

    @property
    def note(self) -> str:
        """The heading of the published figures."""
        return NOTE

    def source(self, row: EncoderRow) -> str:
        """The origin of the figures in one of our rows."""
        trained, untrained = "this run", "random initialisation (same seed)"
        if self.weights:
            trained, untrained = "these weights", "a randomly initialised network"
        elif self.encoder:
            trained, untrained = "this encoder", "the network before training"
            if self.encoder.startswith("hf:"):
                untrained = "a randomly initialised network"
        of_row = {
            _ENCODERS[1]: untrained,
            _ENCODERS[2]: "what training began with (--init)",
            _ENCODERS[3]: CALIBRATED_IS,
        }
        return of_row.get(row.encoder.split(", ")[0], trained)

    def meaning(self, row: EncoderRow) -> str:
        """The meaning of a row whose name needs explanation; "" for others."""
        return CALIBRATED_IS if row.encoder.split(", ")[0] == _ENCODERS[3] else ""

    @property
    def headline(self) -> tuple[str, str, str]:
        """Task with figure, the trained encoder's value, and the values of the baselines ("" if
        they were not evaluated)."""
        values = {row.encoder: row.cells[0].text for row in self.rows if row.cells}
        what = f"{self.title}, {label(self.columns[0])}" if self.columns else ""
        untrained = [f"{name} {values[name]}" for name in _ENCODERS[1:] if name in values]
        return what, values.get(_ENCODERS[0], "–"), ", ".join(untrained)


@dataclass(frozen=True)
class Unread:
    """A file of results/ that cannot be shown."""

    file: str
    reason: str


@dataclass(frozen=True)
class ScoreTable:
    """Label-free scores on one data set.

    Attributes:
        file: name of the file in results/
        encoders: column headings
        rows: each score, with its values for the encoders
    """

    file: str
    dataset: str
    encoders: list[str]
    rows: list[tuple[Score, list[str]]]


@dataclass(frozen=True)
class RunResults:
    """Everything in results/ of a run.

    Attributes:
        tables: by task and data set, without checkpoints that a curve shows
        scores: label-free scores, one table for each data set
    """

    tables: list[Table]
    unread: list[Unread]
    curves: list[Curve]
    scores: list[ScoreTable]


def read_results(run: Path) -> RunResults:
    """Read all results of a run."""
    read: list[tuple[Table, dict[str, Any]]] = []
    unread = []
    for path in sorted((run / "results").glob("*.json")):
        if not path.is_file():
            unread.append(Unread(path.name, "It is not a file."))
            continue
        try:
            result = json.loads(path.read_text(encoding="utf-8"))
            read.append((_table(path.name, result), result))
        except RecursionError:
            unread.append(Unread(path.name, "It is not a result of ascnet (nested too deeply)."))
        except _OF_OTHERS as error:
            said = f"{type(error).__name__}: {error}"
            unread.append(Unread(path.name, f"It is not a result of ascnet ({said})."))
    newest = max((_step_of(result) for _, result in read), default=0)
    read = [(_of_step(table, _step_of(result), newest), result) for table, result in read]
    order = {task: i for i, task in enumerate(TITLES)}
    read.sort(
        key=lambda r: (
            *(r[0].milestone, r[0].dataset, order.get(r[0].task, len(order))),
            *(r[0].factor, r[0].file),
        )
    )
    curves = curves_of(result for _, result in read if _is_of_a_curve(result))
    tables = [table for table, result in read if not _is_in(curves, table, result)]
    scores = [scored for table, result in read if (scored := _scores(table, result))]
    return RunResults(
        [_after(table, tables[:i]) for i, table in enumerate(tables)],
        unread,
        curves,
        list({scored.dataset: scored for scored in reversed(scores)}.values())[::-1],
    )


def _is_of_a_curve(result: dict[str, Any]) -> bool:
    """Whether a result has what a curve needs, which older ones may lack."""
    try:
        curves_of([result])
    except _OF_OTHERS:
        return False
    return True


def _is_in(curves: list[Curve], table: Table, result: dict[str, Any]) -> bool:
    """Whether a table is of an earlier checkpoint that a curve shows."""
    return table.milestone > 0 and any(curve.shows(result) for curve in curves)


def _scores(table: Table, result: dict[str, Any]) -> ScoreTable | None:
    """Label-free scores of the last checkpoint and of the networks before training."""
    try:
        of_rows = scores_in(result)
    except _OF_OTHERS:
        return None
    encoders = [row.encoder for row in table.rows if row.encoder in of_rows]
    if table.milestone or not encoders:
        return None
    rows = [
        (score, [score_text(name, of_rows[encoder].get(name)) for encoder in encoders])
        for name, score in SCORES.items()
    ]
    return ScoreTable(table.file, table.dataset, encoders, rows)


def _step_of(result: dict[str, Any]) -> int:
    """The step of a result's checkpoint; 0 if it is of no run, or unknown."""
    step = (result.get("protocol") or {}).get("step")
    return step if isinstance(step, int) else 0


def _of_step(table: Table, step: int, newest: int) -> Table:
    """A table of an earlier checkpoint than other results, which training left behind, says so, and
    does not lead."""
    if table.milestone or not 0 < step < newest:
        return table
    said = f"Of the checkpoint of step {step}; the newest result is of step {newest}."
    return replace(table, leads=False, chart=None, warning=f"{said} {table.warning}".strip())


def _after(table: Table, before: list[Table]) -> Table:
    """Show published figures and the chart only in the first table to which they apply."""
    if table.published in [other.published for other in before]:
        table = replace(table, published=[])
    if table.left_out in [other.left_out for other in before]:
        table = replace(table, left_out="")
    if table.milestone or (table.task, table.dataset) in [
        (other.task, other.dataset) for other in before
    ]:
        table = replace(table, leads=False, chart=None)
    return table


def label(column: str) -> str:
    """The heading of a column: "top1" becomes "top-1"."""
    return f"top-{column[3:]}" if column.startswith("top") and column[3:].isdigit() else column


def _table(file: str, result: dict[str, Any]) -> Table:
    task, dataset, split = result["task"], result["dataset"], str(result["split"])
    if not (isinstance(task, str) and isinstance(dataset, str)):
        raise TypeError("its task and data set are not strings")
    columns = list(result["columns"])
    spread = result.get("spread") or {}
    rows = _rows(result["results"], spread, columns)
    splits = _splits(result.get("splits") or {})
    several = len(splits) > 1
    factor = str(result.get("factor") or "")
    title = f"{TITLES.get(task, task)} on {dataset}" + (f", {factor}" if factor else "")
    title += f", mean of {len(splits)} splits" if several else f", split {split}"
    milestone = int((result.get("protocol") or {}).get("milestone") or 0)
    title += f", step {milestone}" if milestone else ""
    title += _changes(file, f"{task}-{dataset}-split{split}")
    known = () if factor else published(task, dataset)
    left_out = lacks(dataset, len(result.get("classes") or []), splits) if known else ""
    others = [
        (row, [cell(row.figures.get(column)) for column in columns])
        for row in (() if left_out else known)
    ]
    trained_on = result.get("trained_on") or {}
    counts = _counts(task, splits, result.get("counts") or {})
    drawn = f"; {drawn_text(result)}" if task == "fewshot" else ""
    return Table(
        file=file,
        title=title,
        task=task,
        dataset=dataset,
        factor=factor,
        columns=columns,
        rows=rows,
        by_split=[
            (name, _rows(one["results"], one.get("spread") or {}, columns))
            for name, one in splits.items()
        ]
        if several
        else [],
        published=[
            (row, cells) for row, cells in others if any(c.value is not None for c in cells)
        ],
        counts=counts + drawn,
        protocol=flat(result.get("protocol") or {})
        | flat({"trained on": _shown(trained_on), "code": result.get("code", "")}),
        warning=_warning(result, trained_on),
        missing=left_out_text(result) if result.get("baseline_left_out") else "",
        chart=chart_of(columns, rows),
        left_out=left_out,
        weights=str(trained_on.get("weights") or ""),
        encoder=str(trained_on.get("encoder") or ""),
        predictions=[] if factor else _predictions(file, result, splits),
        milestone=milestone,
    )


def _changes(file: str, usual: str) -> str:
    """What the name of a result's file says of its deviations from the default protocol, such as
    ", layer layer3, pooling max"; "" if there are none, or for a file of another name."""
    words = file.removesuffix(".json").removeprefix(usual).split("_")[1:]
    known = [word.partition("-") for word in words] if file.startswith(usual) else []
    elsewhere = ("factor", "step", "baseline")  # said by the title or by the rows
    return "".join(f", {key} {value}" for key, _, value in known if value and key not in elsewhere)


def _rows(
    results: dict[str, dict[str, float | None]],
    spread: dict[str, dict[str, float | None]],
    columns: list[str],
) -> list[EncoderRow]:
    known = [name for name in _ENCODERS if name in results]
    names = known + [name for name in results if name not in known]
    return [
        EncoderRow(
            name, [cell(results[name].get(c), (spread.get(name) or {}).get(c)) for c in columns]
        )
        for name in names
    ]


def _splits(splits: Any) -> dict[str, dict[str, Any]]:
    """The splits by name; older results have a list."""
    if isinstance(splits, dict):
        return splits
    return {str(split["split"]): split for split in splits}


def _predictions(
    file: str, result: dict[str, Any], splits: dict[str, dict[str, Any]]
) -> list[Predictions]:
    checkpoint = (result.get("protocol") or {}).get("checkpoint_sha256") or ""
    predictions = []
    for name, split in splits.items():
        details = (split.get("details") or {}).get(_ENCODERS[0]) or {}
        if labels := details.get("predictions"):
            predictions.append(
                Predictions(
                    file=file,
                    task=result["task"],
                    dataset=result["dataset"],
                    split=name,
                    part=str(split.get("test_part", "")),
                    checkpoint=str(checkpoint),
                    classes=[str(kind) for kind in result.get("classes") or []],
                    labels=[int(label) for label in labels],
                )
            )
    return predictions


def _counts(task: str, splits: dict[str, dict[str, Any]], counts: dict[str, Any]) -> str:
    """A sentence with the numbers of videos behind the figures."""
    train, test = ("gallery", "queries") if task == "retrieval" else ("train", "test")
    tested = "queries" if task == "retrieval" else "test videos"
    parts = []
    for name, split in splits.items():
        videos = split.get("counts") or {}
        which = f"split {name}: " if len(splits) > 1 else ""
        words = f"{which}{train} {videos.get('train', '?')}, {test} {videos.get('test', '?')}"
        words += f" ({split['test_part']} part)" if split.get("test_part") else ""
        if videos.get("unlabelled"):
            words += f", {videos['unlabelled']} unlabelled left out"
        parts += [words, *(f"{which}{text}" for text in not_counted(split, tested))]
    if "expected" in counts:
        lost = sum((counts.get("failed") or {}).values())
        parts.append(f"{lost} of {counts['expected']} source videos missing")
    return "; ".join(parts)


def _shown(trained_on: dict[str, Any]) -> dict[str, Any]:
    """The record of the training data, with locations that are safe to show."""
    counts: dict[str, Any] = {}
    for place, videos in (trained_on.get("counts") or {}).items():
        name = without_secrets(place)
        counts[f"{name} ({len(counts) + 1})" if name in counts else name] = videos
    places = [without_secrets(place) for place in trained_on.get("shards") or []]
    changed = {"shards": places, "counts": counts}
    return {key: changed.get(key, value) for key, value in trained_on.items()}


def _warning(result: dict[str, Any], trained_on: dict[str, Any]) -> str:
    enlarged = str(result.get("enlarged") or "")
    seen = seen_text(trained_on) if trained_on.get("test_videos_seen") else ""
    parts = list((result.get("splits") or {}).values())
    has_counts = bool(parts) and all("test" in (part.get("counts") or {}) for part in parts)
    few = cautions(result) if has_counts and "classes" in result else []
    return " ".join(filter(None, (enlarged, seen, *few)))
