"""Average precision of every query over the full ranking of the gallery, by cosine, exact."""

import numpy as np
import torch

from builder.progress import Progress, silent
from evaluate.retrieval.cosine import CPU, Cosines

FLOAT64_SCORES = 2**26  # held at a time (512 MiB)


def average_precision(
    gallery: np.ndarray,
    queries: np.ndarray,
    gallery_labels: np.ndarray,
    query_labels: np.ndarray,
    *,
    gallery_groups: np.ndarray | None = None,
    query_groups: np.ndarray | None = None,
    device: torch.device = CPU,
    progress: Progress = silent,
) -> np.ndarray:
    """float64, M: average precision of each of `queries` (M x C) in `gallery` (N x C), float32.

    The gallery is ranked as `retrieval.nearest` ranks it: best first, of equal cosines the one that
    comes first in the gallery. A query's average precision is the mean, over the gallery rows of
    its class, of the share of its class among the rows up to there: what
    `sklearn.metrics.average_precision_score` gives where no cosines are equal. nan where the
    gallery has none of its class. Labels are integers, one a row. With groups, gallery rows of the
    query's own group are left out. `progress` counts queries. The mean over queries
    (`np.nanmean`) is known as mAP.
    """
    cosines = Cosines(gallery, queries, gallery_groups, query_groups, device)
    result = np.full(len(queries), np.nan)
    step = max(1, FLOAT64_SCORES // max(1, len(gallery)))
    of_class = {label: np.flatnonzero(gallery_labels == label) for label in np.unique(query_labels)}
    for start in range(0, len(queries), step):
        some = torch.arange(start, min(start + step, len(queries)))
        for query, row in zip(some.tolist(), cosines.rows(some), strict=True):
            ranks = _ranks(cosines, query, row, of_class[query_labels[query]])
            if len(ranks):
                result[query] = np.mean(np.arange(1, len(ranks) + 1) / ranks)
        progress(int(some[-1]) + 1, len(queries), "")
    return result


def _ranks(cosines: Cosines, query: int, row: torch.Tensor, own: np.ndarray) -> np.ndarray:
    """Ranks, from 1, in rising order, of the gallery rows `own` of a query, siblings left out.

    `row`: its float64 products with the gallery. Where no product is near that of one of `own`, a
    rank is one more than the number of larger products; else exact cosines take their place.
    """
    apart = 2 * cosines.tolerance(torch.float64)
    targets = row[torch.from_numpy(own).to(row.device)]
    own, targets = own[(targets > -torch.inf).cpu().numpy()], targets[targets > -torch.inf]
    ordered = _sorted(row)
    above = len(row) - torch.searchsorted(ordered, targets + apart, right=True)
    not_below = len(row) - torch.searchsorted(ordered, targets - apart)
    if bool((not_below - above <= 1).all()):
        return np.sort(above.cpu().numpy()) + 1
    return _exact_ranks(cosines, query, row.cpu().numpy(), own, apart)


def _exact_ranks(
    cosines: Cosines, query: int, row: np.ndarray, own: np.ndarray, apart: float
) -> np.ndarray:
    """The same with exact cosines in place of all products that are near one of `own`. What is not
    near one lies on the same side of it before and after."""
    targets = np.sort(row[own])
    after = np.searchsorted(targets, row)
    near = np.abs(targets[np.minimum(after, len(targets) - 1)] - row) <= apart
    near |= np.abs(targets[np.maximum(after - 1, 0)] - row) <= apart
    positions = np.flatnonzero(near)
    exact = row.copy()
    exact[positions] = cosines.of_query(query, positions)
    order = np.argsort(-exact, kind="stable")
    ranks = np.empty(len(row), np.int64)
    ranks[order] = np.arange(1, len(row) + 1)
    return np.sort(ranks[own])


def _sorted(row: torch.Tensor) -> torch.Tensor:
    """In rising order. NumPy sorts on a CPU some ten times as fast as torch."""
    if row.device.type == "cpu":
        return torch.from_numpy(np.sort(row.numpy()))
    return torch.sort(row).values
