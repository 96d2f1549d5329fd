"""Evaluate encoders on a data set: from a request to a result.

A new task needs its name in choices.TASKS, its choices in `request.Question`, a title in
results.TITLES, its columns and its call below, its figures in measures.py, published figures in
published.py, and options and help in ascnet/commands/evaluate.py; for the curve over checkpoints,
its figures in curve.py, and for the heat map its name in pages/confusion.py.

A result is a dictionary, written as JSON to `results/` of the run:

    schema, task, dataset, factor, split    the request; split is a name, or "all"
    columns                                 the figures in the table, in order
    results                                 {row: {figure: percent; None: not available}}, a row for
                                            each encoder; the mean if there are several splits
    spread                                  the same for the standard deviation (n - 1) over splits,
                                            or over the draws of labels in one split; else None
    splits                                  for every split: test_part, counts (train, test,
                                            unlabelled), results as above, details {row: {...}};
                                            spread over the draws, if labels were drawn
    classes                                 names of the classes by label
    counts                                  of the data set: expected, built, failed by reason
    dataset_sha256                          fingerprint of the data set
    baseline_left_out                       why there is no calibrated row; "" if there is one
    enlarged                                a note if frames are smaller than the clips, else ""
    protocol                                all choices that the figures depend on
    trained_on, settings, code, seconds     origin of the encoder; duration, the only time recorded
"""

import io
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from builder.atomic import write_atomically
from builder.command_line import quoted
from builder.errors import BuilderError
from builder.progress import Progress, silent
from builder.shards.dataset import ShardDataset
from builder.shards.manifest import DATASET_FILE, VIDEOS_FILE, fingerprint
from evaluate import measures, results
from evaluate.encoders import TRAINED, Subject, Subjects
from evaluate.errors import EvaluateError
from evaluate.features.extract import Extraction, extract
from evaluate.features.store import Features
from evaluate.finetune.clips import LabelledVideos
from evaluate.finetune.finetune import FinetuneJob, finetune
from evaluate.identity_check import COMPUTED_ON
from evaluate.label_free import label_free
from evaluate.measures import Measure
from evaluate.probe.few_labels import COLUMNS
from evaluate.request import Question, result_path, store_path
from evaluate.retrieval import grid
from evaluate.retrieval.knn import NUMBERS
from evaluate.retrieval.nearest import nearest
from evaluate.retrieval.retrieval import RANKS, centre
from evaluate.split import Parts, parts_of, splits_of
from trainer.agreement import failing_together, on_first
from trainer.data.frame_size import enlarged
from trainer.data.streaming.transport import shown
from trainer.distributed import is_known_to_all
from trainer.errors import TrainerError
from trainer.run.provenance import code
from trainer.run.trained_videos import count_seen, seen_by, sources_of

RESULT_SCHEMA = 1
_COLUMNS = {
    "retrieval": [*(f"recall@{k}" for k in RANKS), "mAP"],
    "knn": [f"knn@{k}" for k in NUMBERS],
    "fewshot": COLUMNS,
}
_PICTURED = 12  # queries in the picture
_FOUND = 5  # nearest videos beside each
Figures = dict[str, dict[str, float | None]]  # by row and column


@dataclass(frozen=True)
class Reporters:
    """Progress callbacks.

    Attributes:
        videos: counts videos whose features are computed, or that are tested
        fits: counts what is computed from features
        steps: counts training steps of a classifier
    """

    videos: Progress = silent
    fits: Progress = silent
    steps: Progress = silent


def evaluate(
    question: Question,
    subjects: Subjects,
    dataset: ShardDataset,
    device: torch.device,
    tell: Reporters | None = None,
    *,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Evaluate the trained backbone and its baselines on a data set. Several processes share the
    computation on clips; rank 0 measures and writes, and all get the result.

    The result is also written to `results/` of the subjects' folder, feature stores to `features/`,
    and classifiers' checkpoints to `finetune/`. Raises EvaluateError if a split has no videos to
    train or to test on, or if existing files are damaged or were made differently (with
    `overwrite`, they are replaced).
    """
    with failing_together():
        if question.finetune is not None and dataset.source:
            title = results.TITLES[question.task]
            raise EvaluateError(f"{title} is not possible: {needs_local_shards(dataset)}")
    began = time.perf_counter()
    names = splits_of(dataset, question.split)
    parts = {name: parts_of(dataset, name, question.factor) for name in names}
    evaluation = _Evaluation(question, subjects, dataset, device, tell or Reporters(), overwrite)
    measured: dict[str, dict[str, Measure]] = {name: {} for name in names}
    calibrated, left_out = evaluation.calibrated(names[0])
    baselines = [subjects.untrained, *calibrated] if question.baseline else []
    for subject in (subjects.trained, *baselines):
        for name, rows in evaluation.of(subject, parts).items():
            measured[name] |= rows

    def finish() -> dict[str, Any]:
        result = _result(evaluation, parts, measured) | {"baseline_left_out": left_out}
        result["seconds"] = round(time.perf_counter() - began, 1)
        results.write_json(result_path(question, subjects, dataset.name), result)
        if question.task == "retrieval" and not dataset.source:
            for part in parts.values():
                if len(part.test):
                    evaluation.draw(part)
        return result

    return on_first(finish)


def measured_before(
    question: Question, subjects: Subjects, dataset: ShardDataset
) -> dict[str, Any] | None:
    """An existing, valid result of exactly this request by this version of ascnet, with its
    pictures; None if there is none."""
    wanted = {
        "schema": RESULT_SCHEMA,
        "protocol": question.choices(subjects),
        "dataset_sha256": fingerprint(dataset.folder),
        "code": code(),
    }
    try:
        path = result_path(question, subjects, dataset.name)
        result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        same = {key: result[key] for key in wanted} == json.loads(json.dumps(wanted))
        if question.task == "retrieval" and not dataset.source:
            tested = [split for split, of in result["splits"].items() if of["counts"]["test"]]
            pictures = [result_path(question, subjects, dataset.name, split) for split in tested]
            same = same and all(path.with_suffix(".png").is_file() for path in pictures)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None
    return result if same else None


def needs_local_shards(dataset: ShardDataset) -> str:
    """A sentence that explains why a task with random access to videos cannot use streamed
    shards."""
    return (
        f"{shown(dataset.source)} is streamed in the order of its shards, and this task reads "
        f"videos in random order. Copy {DATASET_FILE}, {VIDEOS_FILE} and the shards to a folder, "
        "and name that with --shards."
    )


@dataclass(frozen=True)
class _Evaluation:
    question: Question
    subjects: Subjects
    dataset: ShardDataset
    device: torch.device
    tell: Reporters
    overwrite: bool

    def of(self, subject: Subject, parts: dict[str, Parts]) -> dict[str, dict[str, Measure]]:
        """The rows of one encoder, by split."""

        def rows_of(of: Callable[[Parts], dict[str, Measure]]) -> dict[str, dict[str, Measure]]:
            return {
                split: {subject.row + suffix: row for suffix, row in of(part).items()}
                for split, part in parts.items()
            }

        if self.question.finetune:
            return rows_of(lambda part: self.train(subject, part))
        self.extract(subject)

        def measure() -> dict[str, dict[str, Measure]]:
            stored = Features(self.store(subject))
            scores = label_free(stored)
            return rows_of(lambda part: self.measure(stored, part, scores))

        return on_first(measure)

    def calibrated(self, split: str) -> tuple[list[Subject], str]:
        """The untrained network with batch-norm statistics of training clips (if they are of this
        data set, those of `split`), or none with the reason. It is not used for end-to-end
        training, which computes its own statistics."""
        question = self.question
        how = question.finetune
        if not question.baseline or (how is not None and not how.frozen):
            return [], ""
        try:
            with failing_together():
                subject = self.subjects.calibrated(self.dataset, split)
        except (EvaluateError, TrainerError, BuilderError) as error:
            if not is_known_to_all(error):
                raise
            return [], str(error)
        return [subject] if subject is not None else [], ""

    def store(self, subject: Subject) -> Path:
        return store_path(self.subjects, self.dataset.name, subject, self.question.protocol)

    def extract(self, subject: Subject) -> None:
        """Fill the encoder's store, unless it is complete."""
        protocol, workers = self.question.protocol, self.subjects.settings.data.workers
        extraction = Extraction(subject, protocol, self.dataset, self.device, workers)
        extract(self.store(subject), extraction, self.tell.videos, overwrite=self.overwrite)

    def measure(
        self, stored: Features, parts: Parts, scores: dict[str, float | None]
    ) -> dict[str, Measure]:
        question, features, how = self.question, stored.features, (self.device, self.tell.fits)
        if question.task == "retrieval":
            rows = measures.retrieval_of(features, parts, question.centring, *how)
        elif question.task == "knn":
            rows = {"": measures.knn_of(features, parts, question.centring, *how)}
        elif question.task == "linear":
            rows = {"": measures.linear_of(features, parts, question.probe, *how)}
        elif question.task == "fewshot":
            rows = {"": measures.fewshot_of(features, parts, question.probe, *how)}
        else:
            raise ValueError(f"There is no measure of the task {question.task!r}")
        for measure in rows.values():
            measure.details["features_by"] = stored.code
            measure.details["label_free"] = scores
            measure.details["features_on"] = {
                key: stored.attributes[key] for key in COMPUTED_ON if key in stored.attributes
            }
        return rows

    def train(self, subject: Subject, parts: Parts) -> dict[str, Measure]:
        """Train a classifier on clips, and test it."""
        question, videos = self.question, self.dataset.videos
        assert question.finetune is not None
        if not len(parts.test):
            raise EvaluateError(
                f"None of the {parts.unknown} test videos of split {parts.split} of "
                f"{self.dataset.name} has a class that the train part has, so none can be "
                "classified. Choose another split, or build with other split lists."
            )
        learn, test = (
            LabelledVideos([videos[i] for i in positions], parts.labels[positions])
            for positions in (parts.train, parts.test)
        )
        classes, protocol = len(parts.classes), question.protocol
        if subject.complete is not None:
            subject.complete(self.device)
        job = FinetuneJob(subject, learn, test, classes, protocol, question.finetune)
        subjects = self.subjects
        if subject.name != TRAINED:
            subjects = replace(subjects, milestone=0)  # the same for all checkpoints
        job_alone = replace(question, baseline=True)  # baselines do not change it
        path = result_path(job_alone, subjects, self.dataset.name, parts.split)
        folder = subjects.folder / "finetune" / f"{path.stem}-{subject.name}"
        done = finetune(
            job, self.device, folder, self.tell.steps, self.tell.videos, overwrite=self.overwrite
        )
        details = dict(done.result)
        figures = {name: details.pop(name) for name in ("top1", "top5")}
        return {"": Measure(figures, details | {"predictions": done.predictions.tolist()})}

    def draw(self, parts: Parts) -> None:
        """Draw queries and their nearest videos by the trained backbone. Raises EvaluateError if
        frames cannot be read; the figures are written before."""
        stored = Features(self.store(self.subjects.trained)).features
        gallery, queries = centre(stored[parts.train], stored[parts.test], self.question.centring)
        some = range(0, len(parts.test), max(1, len(parts.test) // _PICTURED))[:_PICTURED]
        neighbours = nearest(gallery, queries[some], _FOUND, device=self.device).positions

        def shown(position: int) -> grid.GridVideo:
            label = parts.classes[parts.labels[position]]
            return grid.GridVideo(self.dataset.videos[position], label)

        rows = [
            (shown(parts.test[query]), [shown(parts.train[i]) for i in row])
            for query, row in zip(some, neighbours, strict=True)
        ]
        path = result_path(self.question, self.subjects, self.dataset.name, parts.split)
        try:
            content = io.BytesIO()
            grid.retrieval_grid(rows).save(content, format="PNG")
            write_atomically(path.with_suffix(".png"), content.getbuffer())
        except (BuilderError, OSError, ValueError) as error:
            figures = result_path(self.question, self.subjects, self.dataset.name)
            raise EvaluateError(
                f"The figures are in {figures}, but the picture cannot be drawn: {error}. Find the "
                f"damaged frames with `ascnet verify {quoted(self.dataset.folder)} --deep`."
            ) from error


def _result(
    evaluation: _Evaluation, parts: dict[str, Parts], measured: dict[str, dict[str, Measure]]
) -> dict[str, Any]:
    question, subjects, dataset = evaluation.question, evaluation.subjects, evaluation.dataset
    of_splits = {
        split: {row: measure.figures for row, measure in rows.items()}
        for split, rows in measured.items()
    }
    of_draws: dict[str, Figures] = {
        split: {row: measure.spread for row, measure in rows.items() if measure.spread}
        for split, rows in measured.items()
    }
    columns = _COLUMNS.get(question.task, ["top1", "top5"])
    every = list(of_splits.values())
    spread = _over_splits(every, columns, statistics.stdev) if len(every) > 1 else None
    return {
        "schema": RESULT_SCHEMA,
        "task": question.task,
        "dataset": dataset.name,
        "factor": question.factor,
        "split": question.split,
        "columns": columns,
        "results": _over_splits(every, columns, statistics.fmean),
        "spread": spread or next(iter(of_draws.values())) or None,
        "splits": {
            split: {
                "test_part": part.test_part,
                "counts": part.counts,
                "results": of_splits[split],
                "details": {row: measure.details for row, measure in measured[split].items()},
                **({"spread": of_draws[split]} if of_draws[split] else {}),
            }
            for split, part in parts.items()
        },
        "classes": list(next(iter(parts.values())).classes),
        "counts": dataset.counts,
        "dataset_sha256": fingerprint(dataset.folder),
        "enlarged": enlarged(dataset.videos, question.size, question.protocol.short_side),
        "protocol": question.choices(subjects),
        "trained_on": _trained_on(subjects, dataset, list(parts.values())),
        "settings": asdict(subjects.settings),
        "code": code(),
    }


def _over_splits(
    splits: list[Figures], columns: list[str], of: Callable[[list[float]], float]
) -> Figures:
    """Combine the figures of several splits with `of`; None if one of them is None."""

    def figure(row: str, column: str) -> float | None:
        values = [split.get(row, {}).get(column) for split in splits]
        known = [value for value in values if value is not None]
        return of(known) if len(known) == len(values) else None

    rows = dict.fromkeys(row for split in splits for row in split)
    return {row: {column: figure(row, column) for column in columns} for row in rows}


def _trained_on(subjects: Subjects, dataset: ShardDataset, parts: list[Parts]) -> dict[str, Any]:
    """The run's record of its data, and the number of test videos that its training saw; None if
    unknown, as for a file of weights."""
    record = subjects.record
    if not subjects.are_of_a_run:
        return dict(record) | {"test_videos_seen": None}
    split = subjects.settings.data.split
    seen = seen_by(subjects.folder, record, split, dataset)
    number = None
    if seen is not None:
        of_name = sources_of(dataset)
        positions = sorted({int(i) for part in parts for i in part.test})
        number = count_seen((of_name[dataset.videos[i].name] for i in positions), seen)
    return {
        "split": split,
        "code": record["code"],
        "shards": [shown(place) for place in record["shards"]],
        "counts": record["counts"],
        "test_videos_seen": None if number is None else number > 0,
        "test_videos_seen_number": number,
    }
