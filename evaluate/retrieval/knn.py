"""Weighted nearest-neighbour classification.

The protocol of Wu et al. 2018 (arXiv 1805.01978) as DINO and DINOv2 use it (arXiv 2104.14294 and
2304.07193; github.com/facebookresearch/dino, eval_knn.py): each of the k nearest gallery videos by
cosine votes for its class with the weight exp(cosine / 0.07).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from builder.progress import Progress, silent
from evaluate.retrieval.cosine import CPU
from evaluate.retrieval.retrieval import NOTHING, Neighbours, nearest

NUMBERS = (10, 20, 100, 200)  # of neighbours
TEMPERATURE = 0.07
NO_CLASS = -1
_VOTES = 2**22  # float64 numbers that are held at a time


@dataclass(frozen=True)
class KnnResult:
    """`accuracy`: top-1 in percent, "knn@10" and so on; None where the gallery holds fewer videos.
    `predictions` int64, queries: the class that the first number of neighbours votes for, or as
    many as there are; -1 for a query without neighbours."""

    accuracy: dict[str, float | None]
    predictions: np.ndarray


def knn_accuracy(
    gallery: np.ndarray,
    queries: np.ndarray,
    gallery_labels: np.ndarray,
    query_labels: np.ndarray,
    *,
    numbers: Sequence[int] = NUMBERS,
    temperature: float = TEMPERATURE,
    gallery_groups: np.ndarray | None = None,
    query_groups: np.ndarray | None = None,
    device: torch.device = CPU,
    progress: Progress = silent,
) -> KnnResult:
    """Classify `queries` (M x C) by `gallery` (N x C), float32; labels are integers from 0.

    With groups, gallery rows of the query's own group have no vote; a query that has fewer than k
    others is classified by these. Of classes with equal votes the lowest number wins.
    """
    found = nearest(
        gallery,
        queries,
        max(numbers),
        gallery_groups=gallery_groups,
        query_groups=query_groups,
        device=device,
        progress=progress,
    )
    classes = int(gallery_labels.max()) + 1 if len(gallery_labels) else 1
    votes = {k: vote(found, gallery_labels, k, classes, temperature) for k in numbers}
    accuracy = {
        f"knn@{k}": float(100 * (votes[k] == query_labels).mean()) if k <= len(gallery) else None
        for k in numbers
    }
    return KnnResult(accuracy, votes[numbers[0]])


def vote(
    neighbours: Neighbours, gallery_labels: np.ndarray, k: int, classes: int, temperature: float
) -> np.ndarray:
    """int64, queries: the class with the most votes of the k nearest; -1 where there are none."""
    predictions = np.full(len(neighbours.positions), NO_CLASS, np.int64)
    step = max(1, _VOTES // max(classes, k))
    for start in range(0, len(predictions), step):
        positions = neighbours.positions[start : start + step, :k]
        query, place = np.nonzero(positions != NOTHING)
        scores = neighbours.scores[start : start + step, :k][query, place].astype(np.float64)
        ballot = query * classes + gallery_labels[positions[query, place]]
        # Less the query's largest: the same winner, and no temperature overflows.
        largest = neighbours.scores[start : start + step, 0][query].astype(np.float64)
        weights = np.exp((scores - largest) / temperature)
        sums = np.bincount(ballot, weights, len(positions) * classes).reshape(-1, classes)
        best = np.where((positions != NOTHING).any(axis=1), sums.argmax(axis=1), NO_CLASS)
        predictions[start : start + step] = best
    return predictions
