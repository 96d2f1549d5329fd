"""Retrieval of videos of the query's class: recall@k, and average precision of the ranking."""

from collections.abc import Sequence

import numpy as np
import torch

from builder.progress import Progress, silent
from evaluate.choices import CENTRINGS
from evaluate.errors import EvaluateUsageError
from evaluate.retrieval.cosine import CPU, Cosines, Pair
from evaluate.retrieval.nearest import NOTHING

RANKS = (1, 5, 10, 20, 50)
FLOAT64_SCORES = 2**26  # scores held at a time (512 MiB)


def centre(gallery: np.ndarray, queries: np.ndarray, how: str) -> tuple[np.ndarray, np.ndarray]:
    """Subtract a mean, computed in float64, from gallery and queries (float32).

    "none": nothing is subtracted. "own mean": each one's own mean, as in CoCLR's retrieval
    (github.com/TengdaHan/CoCLR, eval/main_classifier.py). "gallery mean": the gallery's mean from
    both, so that no query depends on other queries. Raises EvaluateError for any other value.
    """
    if how not in CENTRINGS:
        raise EvaluateUsageError(
            f"There is no centring {how!r}; choose from {', '.join(CENTRINGS)}."
        )
    if how == "none":
        return gallery, queries
    mean = gallery.mean(axis=0, dtype=np.float64)
    other = queries.mean(axis=0, dtype=np.float64) if how == "own mean" else mean
    return _less(gallery, mean), _less(queries, other)


def _less(rows: np.ndarray, mean: np.ndarray) -> np.ndarray:
    out = np.empty(rows.shape, np.float32)
    np.subtract(rows, mean, out=out, casting="same_kind")  # in float64, in small buffers
    return out


def recall(
    neighbours: np.ndarray,
    gallery_labels: np.ndarray,
    query_labels: np.ndarray,
    gallery_size: int,
    ranks: Sequence[int] = RANKS,
) -> dict[str, float | None]:
    """recall@k in percent: the share of queries of whose k nearest gallery videos at least one has
    their class. None if the gallery has fewer than k videos. `neighbours` has positions as in
    `Neighbours`; -1 is never a hit."""
    hits = (neighbours != NOTHING) & (gallery_labels[neighbours] == query_labels[:, None])
    return {
        f"recall@{k}": float(100 * hits[:, :k].any(axis=1).mean()) if k <= gallery_size else None
        for k in ranks
    }


def average_precision(
    gallery: np.ndarray,
    queries: np.ndarray,
    labels: Pair,
    *,
    groups: Pair | None = None,
    device: torch.device = CPU,
    progress: Progress = silent,
) -> np.ndarray:
    """float64, M: average precision of each of `queries` (M x C) in `gallery` (N x C), both
    float32.

    The ranking is that of `nearest`: best first; of equal cosines, the first in the gallery. The
    average precision is the mean, over the gallery rows of the query's class, of the share of this
    class among the rows up to that one. It equals `sklearn.metrics.average_precision_score` if no
    cosines are equal. nan if the gallery has no row of the class. `labels` has one integer per row.
    With groups, gallery rows of the query's own group are left out. `progress` counts queries. The
    mean over queries (`np.nanmean`) is known as mAP.
    """
    cosines = Cosines(gallery, queries, groups, device)
    precisions = np.full(len(queries), np.nan)
    step = max(1, FLOAT64_SCORES // max(1, len(gallery)))
    of_class = {label: np.flatnonzero(labels[0] == label) for label in np.unique(labels[1])}
    for start in range(0, len(queries), step):
        some = torch.arange(start, min(start + step, len(queries)))
        for query, row in zip(some.tolist(), cosines.rows(some), strict=True):
            ranks = _ranks(cosines, query, row, of_class[labels[1][query]])
            if len(ranks):
                precisions[query] = np.mean(np.arange(1, len(ranks) + 1) / ranks)
        progress(int(some[-1]) + 1, len(queries), "")
    return precisions


def _ranks(
    cosines: Cosines, query: int, products: torch.Tensor, positions: np.ndarray
) -> np.ndarray:
    """Ranks (from 1, ascending) of the gallery rows `positions` for a query, without siblings.
    `products` (float64) are those with the whole gallery; if two are closer than the tolerance
    allows, exact cosines decide."""
    apart = 2 * cosines.tolerance(torch.float64)
    rising, scores = _sorted(products), products.cpu().numpy()
    positions = positions[scores[positions] > -np.inf]
    if not (np.diff(rising[rising > -np.inf]) <= apart).any():
        return np.sort(len(rising) - np.searchsorted(rising, scores[positions]))
    order = np.argsort(-scores, kind="stable")
    order = order[scores[order] > -np.inf]
    is_near = np.diff(-scores[order]) <= apart
    near = order[np.append(is_near, False) | np.append(False, is_near)]
    scores = scores.copy()
    scores[near] = cosines.of_query(query, near)
    ranks = np.empty(len(scores), np.int64)
    ranks[np.argsort(-scores, kind="stable")] = np.arange(1, len(scores) + 1)
    return np.sort(ranks[positions])


def _sorted(row: torch.Tensor) -> np.ndarray:
    """Ascending values. On a CPU, NumPy sorts about ten times as fast as torch."""
    return np.sort(row.numpy()) if row.device.type == "cpu" else row.sort().values.cpu().numpy()
