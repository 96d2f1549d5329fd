"""The nearest gallery rows of every query, by cosine, exact.

Float32 products of all queries with the gallery, block by block, choose candidates: of every query
somewhat more than k. Their exact cosines decide. What is left out has a product no larger than the
last candidate's; where that is less than the k-th by more than twice the tolerance, none of it can
be among the k nearest. Of the other queries, whole rows of float64 products are looked at.
"""

from dataclasses import dataclass

import numpy as np
import torch

from builder.progress import Progress, silent
from evaluate.errors import EvaluateError
from evaluate.retrieval.cosine import CPU, Cosines, Pair
from trainer.float32 import float32_products

NOTHING = -1  # in place of a position
QUERY_BLOCK = 1024  # queries; a block of products with channels = 512 is 32 MiB
SEGMENT = 32  # neighbouring products whose maximum is taken first
FLOAT64_SCORES = 2**25  # held at a time (256 MiB), where whole rows of scores are needed


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
    groups: Pair | None = None,
    device: torch.device = CPU,
    progress: Progress = silent,
) -> Neighbours:
    """The k nearest rows of `gallery` (N x C) of each of `queries` (M x C), both float32.

    With groups (integers, one a row), gallery rows of the query's own group are left out.
    `progress` counts gallery rows, then queries with many gallery rows alike. Raises EvaluateError
    for rows that are not finite.
    """
    if k < 1:
        raise EvaluateError(f"{k} neighbours were asked for. Ask for 1 or more.")
    cosines = Cosines(gallery, queries, groups, device)
    k = min(k, len(gallery))
    positions = np.full((len(queries), k), NOTHING, np.int64)
    scores = np.full((len(queries), k), np.nan, np.float32)
    if not positions.size:
        return Neighbours(positions, scores)
    with float32_products():
        products, rows = _candidates(cosines, k, progress)
        least = products[:, k - 1] - 2 * cosines.tolerance(torch.float32)
        wanted = (products > least[:, None]) & (products > -torch.inf)
        for start in range(0, len(queries), QUERY_BLOCK):
            some = slice(start, start + QUERY_BLOCK)
            positions[some], scores[some] = _ordered(cosines, start, rows[some], wanted[some], k)
        last = products[:, -1]
        unsure = ((last >= least) & (last > -torch.inf)).nonzero()[:, 0]
        step = max(1, FLOAT64_SCORES // len(gallery))
        for start in range(0, len(unsure), step):
            few = unsure[start : start + step]
            for query, row in zip(few.tolist(), cosines.rows(few), strict=True):
                positions[query], scores[query] = _of_row(cosines, query, row, k)
            progress(start + len(few), len(unsure), "queries with many gallery rows alike")
    return Neighbours(positions, scores)


def _candidates(cosines: Cosines, k: int, progress: Progress) -> tuple[torch.Tensor, torch.Tensor]:
    """The largest products of every query, best first (float32), and their gallery rows (int64),
    both on the CPU. There are more than k of them; -inf where there is nothing."""
    units = cosines.query_units(slice(None), torch.float32)
    kept = k + max(16, k // 2)
    best = units.new_full((len(units), kept), -torch.inf)
    rows = torch.zeros(best.shape, dtype=torch.int64, device=units.device)
    products = units.new_empty(0)  # used again and again: fresh memory costs page faults
    for block, gallery in cosines.gallery_units(torch.float32):
        for start in range(0, len(units), QUERY_BLOCK):
            some = slice(start, start + QUERY_BLOCK)
            shape = len(units[some]), len(gallery)
            torch.mm(units[some], gallery.T, out=products.resize_(shape))
            cosines.without_siblings(products, some, block)
            values, columns = _largest(products, kept, best[some, -1:])
            merged = torch.cat([best[some], values], dim=1).topk(kept, dim=1)
            best[some] = merged.values
            rows[some] = torch.cat([rows[some], block.start + columns], 1).gather(1, merged.indices)
        progress(block.stop, cosines.gallery_size, "")
    return best.cpu(), rows.cpu()


def _largest(
    products: torch.Tensor, k: int, floor: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The k largest values of every row and their columns, or as many as any row has above its
    floor. They are among as many segments, those with the largest maxima."""
    if padding := -products.shape[1] % SEGMENT:
        products = torch.nn.functional.pad(products, (0, padding), value=-torch.inf)
    segments = products.view(len(products), -1, SEGMENT)
    maxima = segments.amax(dim=2)
    count = min(k, int((maxima > floor).sum(dim=1).max()))
    chosen = maxima.topk(count, dim=1).indices
    first = torch.arange(len(products), device=products.device)[:, None] * segments.shape[1]
    values = segments.flatten(0, 1).index_select(0, (first + chosen).flatten())
    largest = values.view(len(products), count * SEGMENT).topk(min(k, count * SEGMENT), dim=1)
    columns = chosen.gather(1, largest.indices // SEGMENT) * SEGMENT + largest.indices % SEGMENT
    return largest.values, columns


def _ordered(
    cosines: Cosines, first: int, rows: torch.Tensor, wanted: torch.Tensor, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Positions and scores of the k nearest among the candidates of the queries from `first` on."""
    query, place = wanted.nonzero(as_tuple=True)
    exact = np.full(wanted.shape, -np.inf)
    exact[query, place] = cosines.pairs(first + query, rows[query, place])
    positions = np.where(wanted, rows, NOTHING)
    order = np.lexsort((positions, -exact), axis=1)[:, :k]
    positions, exact = (np.take_along_axis(x, order, axis=1) for x in (positions, exact))
    return positions, np.where(positions == NOTHING, np.nan, exact).astype(np.float32)


def _of_row(
    cosines: Cosines, query: int, row: torch.Tensor, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """The same from all float64 products of one query, which has more than k gallery rows."""
    least = row.topk(k).values[-1] - 2 * cosines.tolerance(torch.float64)
    near = (row > least).nonzero()[:, 0].cpu().numpy()
    exact = cosines.of_query(query, near)
    order = np.argsort(-exact, kind="stable")[:k]
    return near[order], exact[order].astype(np.float32)
