"""The protocols, put together: a run and a data set to a result."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from builder.shard import ShardDataset
from evaluate import picture, probe, report, retrieval
from evaluate.errors import EvaluateError
from evaluate.features import TRAINED, Progress, Subject, extract, subjects
from evaluate.store import Features
from trainer.checkpoint import load_backbone
from trainer.provenance import code
from trainer.run import record_of
from trainer.training_set import describe_splits

_COMPARISON = {
    "retrieval": "cosine, exact",
    "linear": "logistic regression on standardised features, penalty chosen on held-out groups "
    "of the train part",
}
_COLUMNS = {
    "retrieval": [f"recall@{k}" for k in retrieval.RANKS],
    "linear": ["top1", "top5"],
}
_PICTURED = 12  # queries


def evaluate(
    task: str,
    run: Path,
    shards: Path,
    split: str | None,
    device: torch.device,
    progress: Progress = lambda done, total, text: None,
    fit_progress: Progress = lambda done, total, text: None,
) -> dict[str, Any]:
    """Run `task` ("retrieval" or "linear") for the trained and the untrained backbone of a run, on
    a split of a data set (None: the split that the run was trained on).

    `progress` counts the videos whose features are there, `fit_progress` the fits of the probe.
    The result is also written to `run/results/`, the feature stores to `run/features/`. Raises
    EvaluateError if the split has nothing to train or to test on.
    """
    began = time.perf_counter()
    dataset = ShardDataset(shards)
    trained = load_backbone(run)
    split = split or trained.config.data.split
    _must_have_parts(dataset, split)
    results: dict[str, Any] = {}
    for subject in subjects(trained):
        path = store_path(run, dataset, subject)
        extract(path, subject, trained.config, dataset, device, progress)
        features = Features(path)
        results[subject.name] = _TASKS[task](features, split, fit_progress)
        if subject.name == TRAINED:
            of_trained = features
    train, test = of_trained.part(split, "train"), of_trained.part(split, "test")
    in_split = sum(video.splits.get(split) in ("train", "test") for video in dataset.videos)
    attributes = {k: v for k, v in of_trained.attributes.items() if k != "dataset_counts"}
    result: dict[str, Any] = {
        "task": task,
        "dataset": dataset.name,
        "split": split,
        "columns": _COLUMNS[task],
        "results": results,
        "counts": {
            "train": len(train),
            "test": len(test),
            "unlabelled": in_split - len(train) - len(test),
            "dataset": of_trained.counts,
        },
        "protocol": attributes | {"comparison": _COMPARISON[task]},
        "trained_on": _trained_on(run, trained.config.data.split, shards, split),
        "settings": asdict(trained.config),
        "code": code(),
    }
    path = result_path(run, task, dataset.name, split)
    if task == "retrieval":
        _draw(path.with_suffix(".png"), dataset, of_trained, split)
    result["seconds"] = round(time.perf_counter() - began, 1)
    report.write_json(path, result)
    return result


def result_path(run: Path, task: str, dataset: str, split: str) -> Path:
    """The JSON file of a result; a picture may lie beside it."""
    return run / "results" / f"{task}-{dataset}-split{split}.json"


def _trained_on(run: Path, own_split: str, shards: Path, split: str) -> dict[str, Any]:
    """The run's record of its data, and whether its training saw videos of this test part."""
    record = record_of(run)
    same = str(shards.resolve()) in record["shards"]
    return {
        "split": own_split,
        "code": record["code"],
        "shards": record["shards"],
        "counts": record["counts"],
        "test_videos_seen": same and split != own_split,
    }


def store_path(run: Path, dataset: ShardDataset, subject: Subject) -> Path:
    return run / "features" / f"{dataset.name}-{subject.name}.h5"


def _must_have_parts(dataset: ShardDataset, split: str) -> None:
    if not dataset.classes:
        raise EvaluateError(
            f"{dataset.folder} is unlabelled, and recall and accuracy compare classes. Put the "
            "videos of each class into a folder of its own and build again."
        )
    for part in ("train", "test"):
        if all(video.label is None for video in dataset.subset(split, part)):
            raise EvaluateError(
                f"{dataset.folder} has no labelled {part} videos in split {split}; its splits are "
                f"{describe_splits(dataset)}. Choose one that has train and test with --split N."
            )


def _retrieval(features: Features, split: str, fit_progress: Progress) -> dict[str, Any]:
    gallery, queries = features.part(split, "train"), features.part(split, "test")
    x = features.features
    found = retrieval.nearest(x[gallery], x[queries], max(retrieval.RANKS)).positions
    labels = features.labels
    return dict(retrieval.recall(found, labels[gallery], labels[queries], len(gallery)))


def _linear(features: Features, split: str, fit_progress: Progress) -> dict[str, Any]:
    train, test = features.part(split, "train"), features.part(split, "test")
    x, labels = features.features, features.labels
    groups = [features.groups[i] for i in train]
    result = probe.linear_probe(
        x[train], labels[train], groups, x[test], labels[test], fit_progress
    )
    return result.numbers()


_TASKS = {"retrieval": _retrieval, "linear": _linear}


def _draw(path: Path, dataset: ShardDataset, features: Features, split: str) -> None:
    gallery, queries = features.part(split, "train"), features.part(split, "test")
    some = queries[:: max(1, len(queries) // _PICTURED)][:_PICTURED]
    found = retrieval.nearest(features.features[gallery], features.features[some], 5).positions
    videos = dataset.videos
    rows = [
        (videos[q], [videos[gallery[i]] for i in row]) for q, row in zip(some, found, strict=True)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.retrieval_grid(rows).save(path)
