"""Track the largest products of queries with gallery rows, block by block."""

import torch

SEGMENT = 32  # neighbouring products, whose maximum is checked first
ROOM = 3  # space for gathered products, in multiples of `kept`
MANY = 0.5  # share of all segments
SORTED = 1.5  # average number of gathered products that triggers sorting, in multiples of `kept`


class Largest:
    """The `kept` largest of all products added, for each of `queries` queries.

    A product is gathered if it exceeds the query's floor, which is the smallest of the largest
    products when they were last sorted. After the first blocks, few do, so that most products are
    only compared.
    """

    def __init__(self, queries: int, kept: int, device: torch.device) -> None:
        self._kept = kept
        shape = queries, ROOM * kept
        self._products = torch.full(shape, -torch.inf, device=device)
        self._rows = torch.zeros(shape, dtype=torch.int64, device=device)
        self._gathered = torch.full((queries,), kept, device=device)  # placeholders of -inf

    def add(self, products: torch.Tensor, first_row: int) -> None:
        """Add float32 products, queries x some gallery rows starting at `first_row`."""
        if padding := -products.shape[1] % SEGMENT:
            products = torch.nn.functional.pad(products, (0, padding), value=-torch.inf)
        segments = products.view(len(products), -1, SEGMENT)
        maxima = segments.amax(dim=2)
        floor = self._products[:, self._kept - 1 : self._kept]
        higher = _many(maxima > floor) and maxima.shape[1] >= self._kept
        if higher:  # at least `kept` products reach the smallest of these maxima
            least = maxima.topk(self._kept, dim=1).values[:, -1:]
            floor = floor.maximum(least.nextafter(torch.full_like(least, -torch.inf)))
        if _many(maxima > floor) or not self._gather(segments, maxima > floor, floor, first_row):
            self._add_sorted(products, first_row)
        elif int(self._gathered.sum()) > SORTED * self._kept * len(products):
            self._sort()

    def _gather(
        self, segments: torch.Tensor, near: torch.Tensor, floor: torch.Tensor, first_row: int
    ) -> bool:
        """Gather the products above the floor in the segments that are near. Returns False, and
        gathers nothing, if there is not enough space."""
        query, segment = near.nonzero(as_tuple=True)
        candidates = segments.flatten(0, 1).index_select(0, query * segments.shape[1] + segment)
        some, within = (candidates > floor[query]).nonzero(as_tuple=True)
        query, row = query[some], first_row + segment[some] * SEGMENT + within
        counts = torch.bincount(query, minlength=len(segments))
        room = self._products.shape[1]
        if int((self._gathered + counts).max()) > room:
            self._sort()
            if int((self._gathered + counts).max()) > room:
                return False
        firsts = self._gathered - counts.cumsum(0) + counts
        place = firsts[query] + torch.arange(len(query), device=query.device)
        self._products[query, place] = candidates[some, within]
        self._rows[query, place] = row
        self._gathered += counts
        return True

    def best(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The largest products of every query, best first, and their gallery rows (int64); -inf if
        there are fewer than `kept`. Products that were dropped do not exceed the last one."""
        self._sort()
        return self._products[:, : self._kept], self._rows[:, : self._kept]

    def _add_sorted(self, products: torch.Tensor, first_row: int) -> None:
        largest = products.topk(min(self._kept, products.shape[1]), dim=1)
        self._sort()
        added = slice(self._kept, self._kept + largest.values.shape[1])
        self._products[:, added] = largest.values
        self._rows[:, added] = first_row + largest.indices
        self._sort()

    def _sort(self) -> None:
        """Keep the largest products, best first, and drop the rest."""
        largest = self._products.topk(self._kept, dim=1)
        self._rows[:, : self._kept] = self._rows.gather(1, largest.indices)
        self._products.fill_(-torch.inf)[:, : self._kept] = largest.values
        self._gathered.fill_(self._kept)


def _many(near: torch.Tensor) -> bool:
    return int(near.sum()) > MANY * near.numel()
