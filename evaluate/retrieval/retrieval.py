"""Retrieval: nearest neighbours of every query in the gallery, by cosine, exact; recall@k."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from builder.progress import Progress, silent
from evaluate.errors import EvaluateError
from evaluate.retrieval.cosine import CPU, Cosines, full_precision
from evaluate.retrieval.topk import QUERY_BLOCK, Candidates, candidates

RANKS = (1, 5, 10, 20, 50)
CENTRINGS = ("none", "own mean", "gallery mean")
FLOAT64_SCORES = 2**25  # held at a time (256 MiB), where whole rows of scores are needed
NOTHING = -1  # in place of a position


@dataclass(frozen=True)
class Neighbours:
    """The nearest gallery rows of every query, best first; of equal cosines the one that comes
    first in the gallery.

    `positions` int64, queries x min(k, gallery): -1 where a query has no more gallery rows, since
    those of its own group are left out. `scores` float32, as many: cosines; nan there.
    """

    positions: np.ndarray
    scores: np.ndarray


def nearest(
    gallery: np.ndarray,
    queries: np.ndarray,
    k: int,
    *,
    gallery_groups: np.ndarray | None = None,
    query_groups: np.ndarray | None = None,
    device: torch.device = CPU,
    progress: Progress = silent,
) -> Neighbours:
    """The k nearest rows of `gallery` (N x C) of each of `queries` (M x C), both float32.

    With groups (integers, one a row), gallery rows of the query's own group are left out. The
    order is exact: cosines are those of `Cosines.pairs`. Blocks of float32 products choose
    candidates; a query whose candidates surely hold its k nearest is done, and of the others whole
    rows of float64 products are looked at. `progress` counts gallery rows, then such queries.
    Raises EvaluateError for rows that are not finite.
    """
    if k < 1:
        raise EvaluateError(f"{k} neighbours were asked for. Ask for 1 or more.")
    cosines = Cosines(gallery, queries, gallery_groups, query_groups, device)
    k = min(k, len(gallery))
    positions = np.full((len(queries), k), NOTHING, np.int64)
    scores = np.full((len(queries), k), np.nan, np.float32)
    if not positions.size:
        return Neighbours(positions, scores)
    with full_precision():
        found = candidates(cosines, k, progress)
        for start in range(0, len(queries), QUERY_BLOCK):
            some = slice(start, start + QUERY_BLOCK)
            positions[some], scores[some] = _ordered(cosines, found, some, k)
        unsure = (~found.complete).nonzero()[:, 0]
        step = max(1, FLOAT64_SCORES // len(gallery))
        for start in range(0, len(unsure), step):
            few = unsure[start : start + step]
            for query, row in zip(few.tolist(), cosines.rows(few), strict=True):
                positions[query], scores[query] = _of_row(cosines, query, row, k)
            progress(start + len(few), len(unsure), "queries with many gallery rows alike")
    return Neighbours(positions, scores)


def _ordered(
    cosines: Cosines, found: Candidates, some: slice, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Positions and scores of the k nearest among the candidates of some queries."""
    query, place = found.wanted[some].nonzero(as_tuple=True)
    position = found.positions[some][query, place]
    exact = np.full(found.wanted[some].shape, -np.inf)
    exact[query, place] = cosines.pairs(some.start + query, position)
    positions = np.where(found.wanted[some].numpy(), found.positions[some].numpy(), NOTHING)
    order = np.lexsort((positions, -exact), axis=1)[:, :k]
    positions, exact = (np.take_along_axis(x, order, axis=1) for x in (positions, exact))
    return positions, np.where(positions == NOTHING, np.nan, exact).astype(np.float32)


def _of_row(
    cosines: Cosines, query: int, row: torch.Tensor, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """The same from all float64 products of one query. It has k gallery rows that are not left
    out, or its candidates would have been complete."""
    worst = row.topk(k).values[-1] - 2 * cosines.tolerance(torch.float64)
    near = (row > worst).nonzero()[:, 0].cpu().numpy()
    exact = cosines.of_query(query, near)
    order = np.argsort(-exact, kind="stable")[:k]
    return near[order], exact[order].astype(np.float32)


def centre(gallery: np.ndarray, queries: np.ndarray, how: str) -> tuple[np.ndarray, np.ndarray]:
    """Gallery and queries (float32) less a mean, which is a float64 one.

    "none": as they are. "own mean": each less its own mean, as CoCLR's retrieval does
    (github.com/TengdaHan/CoCLR, eval/main_classifier.py). "gallery mean": both less that of the
    gallery, so that no query depends on other queries.
    """
    if how not in CENTRINGS:
        raise EvaluateError(f"There is no centring {how!r}; there are {', '.join(CENTRINGS)}.")
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
