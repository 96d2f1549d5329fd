"""Retrieval of videos of the query's class: recall@k, and the average precision of the ranking."""

from collections.abc import Sequence

import numpy as np
import torch

from builder.progress import Progress, silent
from evaluate.choices import CENTRINGS
from evaluate.errors import EvaluateUsageError
from evaluate.retrieval.cosine import CPU, Cosines, Pair
from evaluate.retrieval.nearest import NOTHING

RANKS = (1, 5, 10, 20, 50)
FLOAT64_SCORES = 2**26  # held at a time (512 MiB)


def centre(gallery: np.ndarray, queries: np.ndarray, how: str) -> tuple[np.ndarray, np.ndarray]:
    """Gallery and queries (float32) less a mean, which is a float64 one.

    "none": as they are. "own mean": each less its own mean, as CoCLR's retrieval does
    (github.com/TengdaHan/CoCLR, eval/main_classifier.py). "gallery mean": both less that of the
    gallery, so that no query depends on other queries.
    """
    if how not in CENTRINGS:
        raise EvaluateUsageError(f"There is no centring {how!r}; there are {', '.join(CENTRINGS)}.")
    if how == "none":
        return gallery, queries
    mean = gallery.mean(axis=0, dtype=np.float64)
    other = queries.mean(axis=0, dtype=np.float64) if how == "own mean" else mean
    return _less(gallery, mean), _less(queries, other)


def _less(rows: np.ndarray, mean: np.ndarray) -> np.ndarray:
    out = np.empty(rows.shape, np.float32)
    np.subtract(rows, mean, out=out, casting="same_kind")  # in float64, a buffer at a time
    return out


def recall(
    neighbours: np.ndarray,
    gallery_labels: np.ndarray,
    query_labels: np.ndarray,
    gallery_size: int,
    ranks: Sequence[int] = RANKS,
) -> dict[str, float | None]:
    """recall@k in percent: the share of queries with one of their k nearest gallery videos in
    their own class. None where the gallery holds fewer than k videos. `neighbours`: positions as
    `nearest` gives them; -1 is never a hit."""
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
    """float64, M: average precision of each of `queries` (M x C) in `gallery` (N x C), float32.

    The gallery is ranked as `nearest` ranks it: best first, of equal cosines the one that comes
    first in the gallery. A query's average precision is the mean, over the gallery rows of its
    class, of the share of its class among the rows up to there: what
    `sklearn.metrics.average_precision_score` gives where no cosines are equal. nan where the
    gallery has none of its class. Labels are integers, one a row. With groups, gallery rows of the
    query's own group are left out. `progress` counts queries. The mean over queries
    (`np.nanmean`) is known as mAP.
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
    """Ranks, from 1, in rising order, of the gallery rows `positions` of a query, siblings left
    out. `products`: float64, of the query with the whole gallery; those that are nearer to another
    than the tolerance gives way to exact cosines."""
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
    """In rising order. NumPy sorts on a CPU some ten times as fast as torch."""
    return np.sort(row.numpy()) if row.device.type == "cpu" else row.sort().values.cpu().numpy()
