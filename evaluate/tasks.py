"""The protocols, put together: an encoder and a data set to a result.

A result is a dictionary, written as JSON to `results/` of the run:

    schema, task, dataset, factor, split    what was asked; split is a name, or "all"
    columns                                 the figures that the table shows, in order
    results                                 {row: {figure: percent, None: there is none}}, a row for
                                            each encoder; the mean over the splits if several
    spread                                  the same, standard deviation over the splits (n - 1);
                                            None for one split
    splits                                  of every split: test_part, counts (train, test,
                                            unlabelled), results as above, details {row: {...}}
    classes                                 names of the classes by label
    counts                                  of the data set: expected, built, failed by reason
    protocol                                every choice that the figures rest on
    trained_on, settings, code, seconds     where the encoder comes from; the only times are seconds
"""

import statistics
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from builder.shard import ShardDataset
from evaluate import measures, picture, results, retrieval
from evaluate.features import Progress, extract
from evaluate.finetune import Task, finetune
from evaluate.finetune_config import FinetuneSettings, protocol_for
from evaluate.knn import NUMBERS, TEMPERATURE
from evaluate.labelled import Labelled
from evaluate.measures import Measure
from evaluate.parts import Parts, parts_of, splits_of
from evaluate.probe import ProbeSettings
from evaluate.protocol import Protocol, protocol_of
from evaluate.store import Features
from evaluate.subjects import Subject, Subjects
from trainer.provenance import code

SCHEMA = 1
TASKS = ("retrieval", "linear", "knn", "finetune")
ON_THE_FLY = "linear-on-the-fly"
_COLUMNS = {
    "retrieval": [*(f"recall@{k}" for k in retrieval.RANKS), "mAP"],
    "knn": [f"knn@{k}" for k in NUMBERS],
}
_PICTURED = 12  # queries


@dataclass(frozen=True)
class Question:
    """What is asked of an encoder."""

    task: str  # of TASKS, or ON_THE_FLY
    split: str  # a name, or "all"
    protocol: Protocol
    factor: str = ""  # a known factor of the videos in place of their class
    centring: str = "none"  # retrieval and kNN; retrieval.CENTRINGS
    probe: ProbeSettings = field(default_factory=ProbeSettings)
    finetune: FinetuneSettings | None = None  # of the two tasks that train on clips
    baseline: bool = True  # whether the untrained network is measured, too


@dataclass(frozen=True)
class Reporters:
    """Who is told how far it is: functions of (done, total, text)."""

    videos: Progress = lambda done, total, text: None  # features that are there
    fits: Progress = lambda done, total, text: None  # what is computed from features
    steps: Progress = lambda done, total, text: None  # of a classifier's training


def evaluate(
    question: Question,
    subjects: Subjects,
    dataset: ShardDataset,
    device: torch.device,
    tell: Reporters | None = None,
    *,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Measure the trained backbone and its untrained twin on a data set.

    The result is also written to `results/` of the subjects' folder, feature stores to `features/`.
    Raises EvaluateError if a split has nothing to train or to test on, or if a store is there that
    is damaged or was made otherwise (`overwrite`: then it is made anew).
    """
    began = time.perf_counter()
    tell = tell or Reporters()
    names = splits_of(dataset, question.split)
    parts = {name: parts_of(dataset, name, question.factor) for name in names}
    asking = _Asking(question, subjects, dataset, device, tell, overwrite)
    found: dict[str, dict[str, Measure]] = {name: {} for name in names}
    for subject in (subjects.trained, subjects.untrained)[: 2 if question.baseline else 1]:
        for name, rows in asking.about(subject, parts).items():
            found[name] |= rows
    result = _result(asking, parts, found)
    result["seconds"] = round(time.perf_counter() - began, 1)
    results.write_json(result_path(question, subjects, dataset.name), result)
    return result


@dataclass(frozen=True)
class _Asking:
    question: Question
    subjects: Subjects
    dataset: ShardDataset
    device: torch.device
    tell: Reporters
    overwrite: bool

    def about(self, subject: Subject, parts: dict[str, Parts]) -> dict[str, dict[str, Measure]]:
        """What one encoder gets: of every split the rows of the table."""
        found = {}
        features = None if self.question.finetune else self.features(subject)
        for split, own in parts.items():
            rows = self.train(subject, own) if features is None else self.measure(features, own)
            found[split] = {subject.name + suffix: measure for suffix, measure in rows.items()}
            if self.question.task == "retrieval" and features and subject is self.subjects.trained:
                self.draw(features, own)
        return found

    def features(self, subject: Subject) -> Features:
        path = store_path(self.subjects, self.dataset.name, subject, self.question.protocol)
        extract(
            path,
            subject,
            self.question.protocol,
            self.dataset,
            self.device,
            self.tell.videos,
            workers=self.subjects.settings.data.workers,
            overwrite=self.overwrite,
        )
        return Features(path)

    def measure(self, stored: Features, parts: Parts) -> dict[str, Measure]:
        asked, features = self.question, stored.features
        if asked.task == "retrieval":
            return measures.retrieval_of(
                features, parts, asked.centring, self.device, self.tell.fits
            )
        if asked.task == "knn":
            return {
                "": measures.knn_of(features, parts, asked.centring, self.device, self.tell.fits)
            }
        return {"": measures.linear_of(features, parts, asked.probe, self.device, self.tell.fits)}

    def train(self, subject: Subject, parts: Parts) -> dict[str, Measure]:
        """Train a classifier on clips, and test it."""
        assert self.question.finetune is not None
        videos = self.dataset.videos
        learn, test = (
            Labelled([videos[i] for i in own], parts.labels[own])
            for own in (parts.train, parts.test)
        )
        task = Task(
            subject, learn, test, len(parts.classes), self.question.protocol, self.question.finetune
        )
        path = result_path(self.question, self.subjects, self.dataset.name, parts.split)
        folder = self.subjects.folder / "finetune" / f"{path.stem}-{subject.name}"
        done = finetune(
            task, self.device, folder, self.tell.steps, self.tell.videos, overwrite=self.overwrite
        )
        details = dict(done.result)
        figures = {"top1": details.pop("top1"), "top5": details.pop("top5")}
        return {"": Measure(figures, details | {"predictions": done.predictions.tolist()})}

    def draw(self, features: Features, parts: Parts) -> None:
        """A picture of queries and what was found for them."""
        some = parts.test[:: max(1, len(parts.test) // _PICTURED)][:_PICTURED]
        gallery, queries = retrieval.centre(
            features.features[parts.train], features.features[some], "none"
        )
        found = retrieval.nearest(gallery, queries, 5, device=self.device).positions
        videos = self.dataset.videos
        rows = [
            (videos[query], [videos[parts.train[i]] for i in row])
            for query, row in zip(some, found, strict=True)
        ]
        path = result_path(self.question, self.subjects, self.dataset.name, parts.split)
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.retrieval_grid(rows).save(path.with_suffix(".png"))


def result_path(
    question: Question, subjects: Subjects, dataset: str, split: str | None = None
) -> Path:
    """The JSON file of a result; a picture may lie beside it. What differs from the usual protocol
    is in its name."""
    changes = _changes(subjects, question.protocol, question.finetune)
    if question.factor:
        changes["factor"] = question.factor
    if question.centring != "none":
        changes["centring"] = question.centring.replace(" ", "-")
    if question.task == "linear":
        usual = asdict(ProbeSettings())
        own = asdict(question.probe)
        changes |= {key: own[key] for key in ("solver", "standardise") if own[key] != usual[key]}
    name = f"{question.task}-{dataset}-split{split or question.split}{_suffix(changes)}.json"
    return subjects.folder / "results" / name


def store_path(subjects: Subjects, dataset: str, subject: Subject, protocol: Protocol) -> Path:
    """The feature store of an encoder on a data set."""
    suffix = _suffix(_changes(subjects, protocol))
    return subjects.folder / "features" / f"{dataset}-{subject.name}{suffix}.h5"


def _changes(
    subjects: Subjects, protocol: Protocol, settings: FinetuneSettings | None = None
) -> dict[str, Any]:
    """What differs from the usual clips of a run, or of the recipe of a classifier."""
    usual = protocol_of(subjects.settings)
    usual = protocol_for(usual, settings) if settings else usual
    before = asdict(usual)
    return {key: value for key, value in asdict(protocol).items() if value != before[key]}


def _suffix(changes: dict[str, Any]) -> str:
    return "".join(f"_{key}-{value}" for key, value in sorted(changes.items()))


def _result(
    asking: _Asking, parts: dict[str, Parts], found: dict[str, dict[str, Measure]]
) -> dict[str, Any]:
    asked, subjects, dataset = asking.question, asking.subjects, asking.dataset
    of_splits = {
        split: {row: measure.figures for row, measure in rows.items()}
        for split, rows in found.items()
    }
    columns = _COLUMNS.get(asked.task, ["top1", "top5"])
    return {
        "schema": SCHEMA,
        "task": asked.task,
        "dataset": dataset.name,
        "factor": asked.factor,
        "split": asked.split,
        "columns": columns,
        "results": _over_splits(list(of_splits.values()), columns, statistics.fmean),
        "spread": _over_splits(list(of_splits.values()), columns, statistics.stdev)
        if len(of_splits) > 1
        else None,
        "splits": {
            split: {
                "test_part": own.test_part,
                "counts": own.counts,
                "results": of_splits[split],
                "details": {row: measure.details for row, measure in found[split].items()},
            }
            for split, own in parts.items()
        },
        "classes": list(next(iter(parts.values())).classes),
        "counts": dataset.counts,
        "protocol": _protocol(asked, subjects),
        "trained_on": _trained_on(subjects, dataset, list(parts)),
        "settings": asdict(subjects.settings),
        "code": code(),
    }


def _over_splits(
    figures: list[dict[str, dict[str, float | None]]], columns: list[str], of: Any
) -> dict[str, dict[str, float | None]]:
    """One number for several splits; None where a split has none. Rows are those of all splits."""
    rows = list(dict.fromkeys(row for split in figures for row in split))
    found: dict[str, dict[str, float | None]] = {}
    for row in rows:
        found[row] = {}
        for column in columns:
            values = [split.get(row, {}).get(column) for split in figures]
            known = [value for value in values if value is not None]
            found[row][column] = of(known) if known and len(known) == len(values) else None
    return found


def _protocol(asked: Question, subjects: Subjects) -> dict[str, Any]:
    """Every choice that the figures rest on."""
    return {
        **subjects.trained.facts,
        **asdict(asked.protocol),
        "comparison": _comparison(asked),
        "centring": asked.centring,
        "temperature": TEMPERATURE if asked.task == "knn" else None,
        "probe": asdict(asked.probe) if asked.task == "linear" else None,
        "classifier": asdict(asked.finetune) if asked.finetune else None,
    }


def _comparison(asked: Question) -> str:
    if asked.task == "retrieval":
        return f"cosine, exact, centring: {asked.centring}"
    if asked.task == "knn":
        return f"cosine, exact, centring: {asked.centring}, votes weigh exp(cosine / {TEMPERATURE})"
    if asked.finetune is None:
        how = "standardised features" if asked.probe.standardise else "features"
        return (
            f"linear classifier ({asked.probe.solver}) on {how}, chosen on held-out groups of the "
            "train part"
        )
    chosen = "last epoch" if asked.finetune.choose == "last" else "best epoch on held-out groups"
    what = "a linear layer on the frozen network" if asked.finetune.frozen else "the whole network"
    return f"{what} trained with recipe {asked.finetune.recipe}, {chosen}, logits averaged"


def _trained_on(subjects: Subjects, dataset: ShardDataset, splits: list[str]) -> dict[str, Any]:
    """The run's record of its data, and whether its training saw videos of a tested part."""
    record = subjects.record
    if "weights" in record:
        return dict(record)
    own = subjects.settings.data.split
    same = str(dataset.folder.resolve()) in record["shards"]
    return {
        "split": own,
        "code": record["code"],
        "shards": record["shards"],
        "counts": record["counts"],
        "test_videos_seen": same and any(split != own for split in splits),
    }
