"""The nearest gallery rows of every query, by cosine, exact.

Float32 products of all queries with the gallery, block by block, choose candidates: of every query
somewhat more than k. Their exact cosines decide. What is left out has a product no larger than the
last candidate's; where that is less than the k-th by more than twice the tolerance, none of it can
be among the k nearest. Of the other queries, whole rows of float64 products are looked at.
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
QUERY_BLOCK = 1024  # at most; their products with a block of 512 channels are 32 MiB
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
            progress(start + len(few), len(unsure), "queries with many gallery rows alike")
    return Neighbours(positions, scores)


def _blocks(queries: int, cores: int) -> list[slice]:
    """Of nearly as many queries each, at most QUERY_BLOCK; as many on every core where possible."""
    step = math.ceil(queries / (cores * math.ceil(queries / (cores * QUERY_BLOCK))))
    return [slice(start, min(start + step, queries)) for start in range(0, queries, step)]


def _candidates(
    cosines: Cosines, k: int, blocks: list[slice], cores: Cores, progress: Progress
) -> tuple[torch.Tensor, torch.Tensor]:
    """The largest products of every query, best first (float32), and their gallery rows (int64),
    both on the CPU. There are more than k of them; -inf where there is nothing."""
    units = cosines.query_units(slice(None), torch.float32)
    kept = k + max(16, k // 2)
    largest = [Largest(len(units[some]), kept, units.device) for some in blocks]
    memory = threading.local()  # of every core, used again and again: new pages cost time

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
    """queries x gallery. On the CPU by numpy, whose products are up to half faster than torch's."""
    if out.device.type == "cpu":
        np.matmul(queries.numpy(), gallery.numpy().T, out=out.numpy())
    else:
        torch.mm(queries, gallery.T, out=out)
    return out


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
