"""The best float32 cosines of every query: all that can be among its k nearest, and few more.

The gallery is gone through once, block by block, for all queries; what is held besides is a table
of a few hundred numbers a query. A block is only looked at where its largest values, of SEGMENT
neighbours each, are above what a query still wants.
"""

from dataclasses import dataclass

import torch

from builder.progress import Progress
from evaluate.retrieval.cosine import Cosines

QUERY_BLOCK = 2048  # with GALLERY_BLOCK: a block of products is 8 MiB
SEGMENT = 32  # neighbouring products whose maximum is taken first
ROOM = 64  # places of a query for what was found since its best were last picked


@dataclass(frozen=True)
class Candidates:
    """Gallery rows that may be among the k nearest of their query.

    `positions` int64 and `wanted` bool, queries x places, on the CPU: the gallery rows, and
    which places hold one. `complete` bool, queries: the k nearest are surely among them.
    """

    positions: torch.Tensor
    wanted: torch.Tensor
    complete: torch.Tensor


def candidates(cosines: Cosines, k: int, progress: Progress) -> Candidates:
    """Of every query, for 1 <= k. Where more rows are within the tolerance of the k-th best than
    there are places, a query is not `complete`."""
    table = _Table(cosines, k)
    units = cosines.query_units(slice(None), torch.float32)
    products = units.new_empty(0)  # used again and again: fresh memory costs page faults
    for first, gallery in cosines.gallery_units(torch.float32):
        for start in range(0, len(units), QUERY_BLOCK):
            some = slice(start, min(start + QUERY_BLOCK, len(units)))
            shape = (some.stop - start, len(gallery))
            if products.shape != shape:
                products = units.new_empty(shape)
            torch.mm(units[some], gallery.T, out=products)
            table.add(some, first, products)
        progress(first + len(gallery), cosines.gallery_size, "")
    return table.result()


class _Table:
    """`kept` places a query for the best, then ROOM for newer ones."""

    def __init__(self, cosines: Cosines, k: int) -> None:
        self._cosines = cosines
        self._k, self._kept = k, k + max(16, k // 2)
        # Two scores that are further apart than this are in their true order.
        self._apart = 2 * cosines.tolerance(torch.float32)
        shape, device = (cosines.query_count, self._kept + ROOM), cosines.device
        self._scores = torch.full(shape, -torch.inf, device=device)
        self._positions = torch.zeros(shape, dtype=torch.int64, device=device)
        self._used = torch.zeros(shape[0], dtype=torch.int64, device=device)
        self._floor = torch.full((shape[0],), -torch.inf, device=device)  # not wanted up to here

    def add(self, some: slice, first: int, block: torch.Tensor) -> None:
        """Products of some queries with the gallery rows from `first` on."""
        columns = block.shape[1]
        if columns % SEGMENT:
            block = torch.nn.functional.pad(block, (0, -columns % SEGMENT), value=-torch.inf)
        segments = block.view(len(block), -1, SEGMENT)
        floor = self._floor[some]
        row, segment = (segments.amax(dim=2) > floor[:, None]).nonzero(as_tuple=True)
        if len(row) > len(block) * ROOM:
            self._add_best(some, first, block[:, :columns])
            return
        values = segments.view(-1, SEGMENT).index_select(0, row * segments.shape[1] + segment)
        hit, column = (values > floor[row, None]).nonzero(as_tuple=True)
        row, position = row[hit], first + segment[hit] * SEGMENT + column
        score = values[hit, column]
        siblings = self._cosines.siblings(some.start + row, position)
        if siblings is not None:
            row, position, score = (x[~siblings] for x in (row, position, score))
        counts = torch.bincount(row, minlength=len(block))
        if len(row) and counts.max() > ROOM:
            self._add_best(some, first, block[:, :columns])
            return
        if (self._used[some] + counts).max() > self._scores.shape[1]:
            self._pick(some)
        begins = counts.cumsum(0) - counts
        place = self._used[some][row] + torch.arange(len(row), device=row.device) - begins[row]
        self._scores[some][row, place] = score
        self._positions[some][row, place] = position
        self._used[some] += counts

    def _add_best(self, some: slice, first: int, block: torch.Tensor) -> None:
        """Where a block has many that are wanted."""
        siblings = self._cosines.siblings(some, slice(first, first + block.shape[1]))
        if siblings is not None:
            block = block.masked_fill(siblings, -torch.inf)
        best = block.topk(min(self._kept, block.shape[1]), dim=1)
        self._keep(
            some,
            torch.cat([self._scores[some], best.values], dim=1),
            torch.cat([self._positions[some], first + best.indices], dim=1),
        )

    def _pick(self, some: slice) -> None:
        self._keep(some, self._scores[some], self._positions[some])

    def _keep(self, some: slice, scores: torch.Tensor, positions: torch.Tensor) -> None:
        best = scores.topk(self._kept, dim=1)  # best first
        self._scores[some, : self._kept] = best.values
        self._scores[some, self._kept :] = -torch.inf
        self._positions[some, : self._kept] = positions.gather(1, best.indices)
        self._used[some] = self._kept
        # Rows that found no place score no more than the last that did: `result` looks at that.
        self._floor[some] = torch.maximum(self._wanted(best.values), best.values[:, -1])

    def _wanted(self, scores: torch.Tensor) -> torch.Tensor:
        """Of scores, best first: what scores less cannot be among the k nearest."""
        return scores[:, self._k - 1] - self._apart

    def result(self) -> Candidates:
        for start in range(0, len(self._scores), QUERY_BLOCK):
            self._pick(slice(start, min(start + QUERY_BLOCK, len(self._scores))))
        scores = self._scores[:, : self._kept]
        wanted, last = self._wanted(scores), scores[:, -1]
        return Candidates(
            self._positions[:, : self._kept].cpu(),
            ((scores > wanted[:, None]) & (scores > -torch.inf)).cpu(),
            ((last < wanted) | (last == -torch.inf)).cpu(),
        )
