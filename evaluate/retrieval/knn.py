"""Weighted k-nearest-neighbour classification.

The protocol of Wu et al. 2018 (arXiv 1805.01978), as used by DINO and DINOv2 (arXiv 2104.14294 and
2304.07193; github.com/facebookresearch/dino, eval_knn.py): each of the k nearest gallery videos by
cosine votes for its class with the weight exp(cosine / 0.07).
"""

from dataclasses import dataclass

import numpy as np
import torch

from builder.progress import Progress, silent
from evaluate.retrieval.cosine import CPU, Pair
from evaluate.retrieval.nearest import Neighbours, nearest

NUMBERS = (10, 20, 100, 200)  # values of k
TEMPERATURE = 0.07
_VOTES = 2**22  # float64 numbers held at a time


@dataclass(frozen=True)
class KnnResult:
    """The result of kNN classification.

    Attributes:
        accuracy: top-1 in percent by "knn@10" and so on; None if the gallery has fewer than k
            videos
        predictions: int64, queries: the class voted for with the smallest k
    """

    accuracy: dict[str, float | None]
    predictions: np.ndarray


def knn_accuracy(
    gallery: np.ndarray,
    queries: np.ndarray,
    labels: Pair,
    *,
    device: torch.device = CPU,
    progress: Progress = silent,
) -> KnnResult:
    """Classify `queries` (M x C) with `gallery` (N x C), float32. `labels` are integers from 0 for
    the gallery and the queries. Of classes with equal votes, the one with the smallest label
    wins."""
    neighbours = nearest(gallery, queries, max(NUMBERS), device=device, progress=progress)
    votes = {k: vote(neighbours, labels[0], k) for k in NUMBERS}
    accuracy = {
        f"knn@{k}": float(100 * (votes[k] == labels[1]).mean()) if k <= len(gallery) else None
        for k in NUMBERS
    }
    return KnnResult(accuracy, votes[NUMBERS[0]])


def vote(neighbours: Neighbours, gallery_labels: np.ndarray, k: int) -> np.ndarray:
    """int64, queries: the class with the most votes of the k nearest."""
    classes = int(gallery_labels.max()) + 1
    predictions = np.empty(len(neighbours.positions), np.int64)
    step = max(1, _VOTES // max(classes, k))
    for start in range(0, len(predictions), step):
        labels = gallery_labels[neighbours.positions[start : start + step, :k]]
        scores = neighbours.scores[start : start + step, :k].astype(np.float64)
        ballots = np.arange(len(labels))[:, None] * classes + labels
        weights = np.exp((scores - scores[:, :1]) / TEMPERATURE)
        votes = np.bincount(ballots.ravel(), weights.ravel(), len(labels) * classes)
        predictions[start : start + step] = votes.reshape(-1, classes).argmax(axis=1)
    return predictions
