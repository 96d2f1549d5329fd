"""Figures from stored features: one function for each task."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from builder.progress import Progress
from evaluate.probe.probe import ProbeSettings, linear_probe
from evaluate.retrieval import average_precision, retrieval
from evaluate.retrieval.knn import NUMBERS, knn_accuracy
from evaluate.split import Parts

_RECALLS = tuple(f"recall@{k}" for k in retrieval.RANKS)
NO_SIBLINGS = ", no siblings"  # the row of the gallery without the query's own recording


@dataclass(frozen=True)
class Measure:
    """What one encoder gets on one split."""

    figures: dict[str, float | None]  # percent; None: there is none
    details: dict[str, Any]  # what was chosen; `predictions`: a label for each test video


def retrieval_of(
    features: np.ndarray, parts: Parts, centring: str, device: torch.device, progress: Progress
) -> dict[str, Measure]:
    """recall@k and mean average precision of test videos among training videos, by suffix of the
    row: "" for the whole gallery and, where any test video has siblings in it, NO_SIBLINGS."""
    asked = features[parts.test]
    how = centring if len(asked) else "none"  # of no queries there is no mean
    gallery, queries = retrieval.centre(features[parts.train], asked, how)
    measures = {"": _retrieval(gallery, queries, parts, {}, device, progress)}
    if parts.with_siblings:
        groups = {
            "gallery_groups": parts.groups[parts.train],
            "query_groups": parts.groups[parts.test],
        }
        measures[NO_SIBLINGS] = _retrieval(gallery, queries, parts, groups, device, progress)
    return measures


def _retrieval(
    gallery: np.ndarray,
    queries: np.ndarray,
    parts: Parts,
    groups: dict[str, np.ndarray],
    device: torch.device,
    progress: Progress,
) -> Measure:
    labels = parts.labels[parts.train], parts.labels[parts.test]
    if not len(queries):
        return Measure({**dict.fromkeys(_RECALLS), "mAP": None}, _nothing(parts))
    found = retrieval.nearest(
        gallery, queries, max(retrieval.RANKS), device=device, progress=progress, **groups
    ).positions
    precisions = average_precision.average_precision(
        gallery, queries, *labels, device=device, progress=progress, **groups
    )
    without = np.isnan(precisions)
    figures: dict[str, float | None] = {**dict.fromkeys(_RECALLS), "mAP": None}
    if not without.all():  # recall and mAP over the same queries: those that can be answered
        can = ~without
        figures = retrieval.recall(found[can], labels[0], labels[1][can], len(gallery))
        figures["mAP"] = float(100 * precisions[can].mean())
    nearest = np.where(found[:, 0] >= 0, labels[0][found[:, 0]], -1)
    details = {
        "queries_with_siblings": parts.with_siblings,
        "queries_without_their_class": int(without.sum()),
        "left_out": int(without.sum()),  # of recall and mAP; before, they were misses of recall
        "predictions": nearest.tolist(),  # class of the nearest
    }
    return Measure(figures, details)


def _nothing(parts: Parts) -> dict[str, Any]:
    """The details where there is nothing to ask with."""
    return {
        "queries_with_siblings": parts.with_siblings,
        "queries_without_their_class": 0,
        "predictions": [],
    }


def linear_of(
    features: np.ndarray,
    parts: Parts,
    settings: ProbeSettings,
    device: torch.device,
    progress: Progress,
) -> Measure:
    """top-1 and top-5 of a linear classifier on the features."""
    if not len(parts.test):
        return Measure({"top1": None, "top5": None}, {"predictions": []})
    found = linear_probe(
        features[parts.train],
        parts.labels[parts.train],
        parts.groups[parts.train].tolist(),
        features[parts.test],
        parts.labels[parts.test],
        progress,
        settings=settings,
        device=device,
    )
    details: dict[str, Any] = found.numbers() | {"predictions": found.predictions.tolist()}
    del details["top1"], details["top5"]
    return Measure({"top1": found.top1, "top5": found.top5}, details)


def knn_of(
    features: np.ndarray, parts: Parts, centring: str, device: torch.device, progress: Progress
) -> Measure:
    """top-1 of a vote of the k nearest."""
    if not len(parts.test):
        return Measure({f"knn@{k}": None for k in NUMBERS}, {"predictions": []})
    gallery, queries = retrieval.centre(features[parts.train], features[parts.test], centring)
    found = knn_accuracy(
        gallery,
        queries,
        parts.labels[parts.train],
        parts.labels[parts.test],
        device=device,
        progress=progress,
    )
    return Measure(found.accuracy, {"predictions": found.predictions.tolist()})
