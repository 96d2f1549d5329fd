"""Find the nearest gallery rows of every query by cosine, exactly.

Float32 products of all queries with the gallery, in blocks, select candidates: somewhat more than k
for each query. Their exact cosines decide. The product of any other row is at most that of the last
candidate. If that is smaller than the k-th product by more than twice the tolerance, no other row
can be among the k nearest. For the remaining queries, whole rows of float64 products are computed.
"""

import math
import threading
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from builder.progress import Progress, silent
from evaluate.errors import EvaluateError
from evaluate.retrieval.cores import Cores, core_each
from evaluate.retrieval.cosine import CPU, Cosines, Pair
from evaluate.retrieval.largest import Largest
from trainer.float32 import float32_products

NOTHING = -1  # in place of a position
QUERY_BLOCK = 1024  # at most; with 512 channels, a block of products has 32 MiB
FLOAT64_SCORES = 2**25  # of whole rows, held at a time (256 MiB)


@dataclass(frozen=True)
class Neighbours:
    """The nearest gallery rows of every query, best first; of equal cosines, the first in the
    gallery.

    Attributes:
        positions: int64, queries x min(k, gallery): -1 if a query has no more gallery rows, because
            those of its own group are left out
        scores: float32, the same shape: cosines; nan for position -1
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
    """Find the k nearest rows of `gallery` (N x C) for each of `queries` (M x C), both float32.

    With groups (one integer per row), gallery rows of the query's own group are left out.
    `progress` counts gallery rows, then queries with many similar gallery rows. Raises
    EvaluateError for rows that are NaN or infinite, and for k below 1.
    """
    if k < 1:
        raise EvaluateError(f"The number of neighbours is {k}; it must be 1 or more.")
    cosines = Cosines(gallery, queries, groups, device)
    k = min(k, len(gallery))
    positions = np.full((len(queries), k), NOTHING, np.int64)
    scores = np.full((len(queries), k), np.nan, np.float32)
    if not positions.size:
        return Neighbours(positions, scores)
    with float32_products(), core_each(device) as cores:
        blocks = _blocks(len(queries), cores.number)
        products, rows = _candidates(cosines, k, blocks, cores, progress)
        least = products[:, k - 1] - 2 * cosines.tolerance(torch.float32)
        wanted = (products > least[:, None]) & (products > -torch.inf)

        def order(some: slice) -> None:
            positions[some], scores[some] = _ordered(
                cosines, some.start, rows[some], wanted[some], k
            )

        cores.map(order, blocks)
        last = products[:, -1]
        unsure = ((last >= least) & (last > -torch.inf)).nonzero()[:, 0]
        step = max(1, FLOAT64_SCORES // len(gallery))
        for start in range(0, len(unsure), step):
            few = unsure[start : start + step]
            for query, row in zip(few.tolist(), cosines.rows(few), strict=True):
                positions[query], scores[query] = _of_row(cosines, query, row, k)
            progress(start + len(few), len(unsure), "queries with many similar gallery rows")
    return Neighbours(positions, scores)


def _blocks(queries: int, cores: int) -> list[slice]:
    """Blocks of nearly equally many queries, at most QUERY_BLOCK, and equally many per core if
    possible."""
    step = math.ceil(queries / (cores * math.ceil(queries / (cores * QUERY_BLOCK))))
    return [slice(start, min(start + step, queries)) for start in range(0, queries, step)]


def _candidates(
    cosines: Cosines, k: int, blocks: list[slice], cores: Cores, progress: Progress
) -> tuple[torch.Tensor, torch.Tensor]:
    """The largest products of every query, best first (float32), and their gallery rows (int64),
    both on the CPU. There are more than k per query; missing ones are -inf."""
    units = cosines.query_units(slice(None), torch.float32)
    kept = k + max(16, k // 2)
    largest = [Largest(len(units[some]), kept, units.device) for some in blocks]
    memory = threading.local()  # one buffer per thread, reused to avoid allocating pages

    def add(rows: slice, gallery: torch.Tensor, number: int) -> None:
        some = units[blocks[number]]
        shape = len(some), len(gallery)
        if not hasattr(memory, "products"):
            memory.products = units.new_empty(0)
        products = _products(some, gallery, memory.products.resize_(shape))
        cosines.without_siblings(products, blocks[number], rows)
        largest[number].add(products, rows.start)

    for rows, gallery in cosines.gallery_units(torch.float32):
        cores.map(partial(add, rows, gallery), range(len(blocks)))
        progress(rows.stop, cosines.gallery_size, "")
    products, positions = zip(*(one.best() for one in largest), strict=True)
    return torch.cat(products).cpu(), torch.cat(positions).cpu()


def _products(queries: torch.Tensor, gallery: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
    """Products, queries x gallery. numpy's are up to twice as fast as torch's on the CPU."""
    if out.device.type == "cpu":
        np.matmul(queries.numpy(), gallery.numpy().T, out=out.numpy())
    else:
        torch.mm(queries, gallery.T, out=out)
    return out


def _ordered(
    cosines: Cosines, first: int, rows: torch.Tensor, wanted: torch.Tensor, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Positions and scores of the k nearest among the candidates of the queries starting at
    `first`."""
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
    """Positions and scores of the k nearest from all float64 products of a query that has more than
    k gallery rows."""
    least = row.topk(k).values[-1] - 2 * cosines.tolerance(torch.float64)
    near = (row > least).nonzero()[:, 0].cpu().numpy()
    exact = cosines.of_query(query, near)
    order = np.argsort(-exact, kind="stable")[:k]
    return near[order], exact[order].astype(np.float32)
