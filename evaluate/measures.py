"""Figures from stored features: one function for each task."""

import statistics
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from builder.progress import Progress
from evaluate.probe.few_labels import ALL_LABELS, COLUMNS, few_label_accuracy, pool_of
from evaluate.probe.probe import LabelledFeatures, ProbeSettings, linear_probe
from evaluate.retrieval.cosine import Pair
from evaluate.retrieval.knn import NUMBERS, knn_accuracy
from evaluate.retrieval.nearest import NOTHING, nearest
from evaluate.retrieval.retrieval import RANKS, average_precision, centre, recall
from evaluate.split import Parts

NO_SIBLINGS = ", no siblings"  # the row of the gallery without the query's own recording


@dataclass(frozen=True)
class Measure:
    """What one encoder gets on one split.

    Attributes:
        figures: percent; None: there is none
        details: what was chosen; `predictions`: a label for each test video
        spread: standard deviation (n - 1) of a figure that is a mean over draws
    """

    figures: dict[str, float | None]
    details: dict[str, Any]
    spread: dict[str, float | None] = field(default_factory=dict)


def retrieval_of(
    features: np.ndarray, parts: Parts, centring: str, device: torch.device, progress: Progress
) -> dict[str, Measure]:
    """recall@k and mean average precision of test videos among training videos, by suffix of the
    row: "" for the whole gallery and, where any test video has siblings in it, NO_SIBLINGS."""
    how = centring if len(parts.test) else "none"  # of no queries there is no mean
    gallery, queries = centre(features[parts.train], features[parts.test], how)
    groups = parts.groups[parts.train], parts.groups[parts.test]
    galleries = {"": None} | ({NO_SIBLINGS: groups} if parts.with_siblings else {})
    return {
        suffix: _retrieval(gallery, queries, parts, left_out, device, progress)
        for suffix, left_out in galleries.items()
    }


def _retrieval(
    gallery: np.ndarray,
    queries: np.ndarray,
    parts: Parts,
    groups: Pair | None,
    device: torch.device,
    progress: Progress,
) -> Measure:
    labels = parts.labels[parts.train], parts.labels[parts.test]
    figures: dict[str, float | None] = dict.fromkeys([*(f"recall@{k}" for k in RANKS), "mAP"])
    details: dict[str, Any] = {
        "queries_with_siblings": parts.with_siblings,
        "queries_without_their_class": 0,
    }
    if not len(queries):
        return Measure(figures, details | {"predictions": []})
    neighbours = nearest(
        gallery, queries, max(RANKS), groups=groups, device=device, progress=progress
    ).positions
    precisions = average_precision(
        gallery, queries, labels, groups=groups, device=device, progress=progress
    )
    can = ~np.isnan(precisions)
    if can.any():  # recall and mAP over the same queries: those that can be answered
        figures = recall(neighbours[can], labels[0], labels[1][can], len(gallery))
        figures["mAP"] = float(100 * precisions[can].mean())
    without = int((~can).sum())
    first = neighbours[:, 0]
    return Measure(
        figures,
        details
        | {
            "queries_without_their_class": without,
            "left_out": without,  # of recall and mAP; before, they were misses of recall
            "predictions": np.where(first != NOTHING, labels[0][first], -1).tolist(),
        },
    )


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
    train, test = (_labelled(features, parts, part) for part in (parts.train, parts.test))
    result = linear_probe(train, test, settings, device, progress)
    details: dict[str, Any] = result.numbers() | {"predictions": result.predictions.tolist()}
    return Measure({name: details.pop(name) for name in ("top1", "top5")}, details)


def fewshot_of(
    features: np.ndarray,
    parts: Parts,
    settings: ProbeSettings,
    device: torch.device,
    progress: Progress,
) -> Measure:
    """top-1 of logistic regressions on few labelled videos, mean over the draws, and that of a
    linear probe of all that can be drawn, which chooses its penalty as `linear_of` does."""
    pool = pool_of(parts)
    figures: dict[str, float | None] = dict.fromkeys(COLUMNS)
    details: dict[str, Any] = {"left_out_of_draws": [*pool.left_out, *pool.amounts()[1]]}
    if not len(pool.test):
        return Measure(figures, details)
    accuracy = few_label_accuracy(features, pool, settings.standardise, device, progress)
    fits = sum(map(len, accuracy.values()))

    def after_draws(done: int, total: int, text: str) -> None:
        progress(fits + done, fits + total, text)

    train, test = (_labelled(features, parts, part) for part in (pool.train, pool.test))
    whole = linear_probe(train, test, settings, device, after_draws)
    spread: dict[str, float | None] = {n: statistics.stdev(d) for n, d in accuracy.items()}
    figures |= {name: statistics.fmean(draws) for name, draws in accuracy.items()}
    figures[ALL_LABELS] = whole.top1
    details |= {
        "draws": accuracy,
        "penalty": whole.penalty,
        "penalty_from": whole.penalty_from,
    }
    return Measure(figures, details, spread)


def _labelled(features: np.ndarray, parts: Parts, positions: np.ndarray) -> LabelledFeatures:
    groups = parts.groups[positions].tolist()
    return LabelledFeatures(features[positions], parts.labels[positions], groups)


def knn_of(
    features: np.ndarray, parts: Parts, centring: str, device: torch.device, progress: Progress
) -> Measure:
    """top-1 of a vote of the k nearest."""
    if not len(parts.test):
        return Measure({f"knn@{k}": None for k in NUMBERS}, {"predictions": []})
    gallery, queries = centre(features[parts.train], features[parts.test], centring)
    labels = parts.labels[parts.train], parts.labels[parts.test]
    result = knn_accuracy(gallery, queries, labels, device=device, progress=progress)
    return Measure(result.accuracy, {"predictions": result.predictions.tolist()})
