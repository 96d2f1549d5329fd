"""Compute figures from stored features: one function per task."""

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

NO_SIBLINGS = ", no siblings"  # suffix of rows without the query's own recording in the gallery


@dataclass(frozen=True)
class Measure:
    """The figures of one encoder on one split.

    Attributes:
        figures: percent; None: not available
        details: choices made; `predictions` has a label for each test video
        spread: standard deviation (n - 1) of figures that are means over draws
    """

    figures: dict[str, float | None]
    details: dict[str, Any]
    spread: dict[str, float | None] = field(default_factory=dict)


def retrieval_of(
    features: np.ndarray, parts: Parts, centring: str, device: torch.device, progress: Progress
) -> dict[str, Measure]:
    """recall@k and mean average precision for test videos as queries and training videos as the
    gallery. The keys are suffixes of the table's rows: "" for the whole gallery and, if the gallery
    has siblings of test videos (of the same recording), NO_SIBLINGS."""
    how = centring if len(parts.test) else "none"  # no queries have no mean
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
    if can.any():  # recall and mAP are over the queries whose class is in the gallery
        figures = recall(neighbours[can], labels[0], labels[1][can], len(gallery))
        figures["mAP"] = float(100 * precisions[can].mean())
    without = int((~can).sum())
    first = neighbours[:, 0]
    return Measure(
        figures,
        details
        | {
            "queries_without_their_class": without,
            "left_out": without,  # earlier versions counted them as misses
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
    """Top-1 and top-5 accuracy of a linear classifier on the features."""
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
    """Top-1 accuracy of logistic regression on few labelled videos, as the mean over the draws, and
    of a linear probe on all drawable videos, whose penalty is chosen as in `linear_of`."""
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
    """Top-1 accuracy of a weighted vote of the k nearest training videos."""
    if not len(parts.test):
        return Measure({f"knn@{k}": None for k in NUMBERS}, {"predictions": []})
    gallery, queries = centre(features[parts.train], features[parts.test], centring)
    labels = parts.labels[parts.train], parts.labels[parts.test]
    result = knn_accuracy(gallery, queries, labels, device=device, progress=progress)
    return Measure(result.accuracy, {"predictions": result.predictions.tolist()})
