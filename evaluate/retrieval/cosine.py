"""Cosines of queries and gallery rows: fast blocks of products, and exact values.

The exact cosine (`Cosines.pairs`) is the float64 sum of the products of two float32 rows, added in
a fixed order, divided by the product of their lengths. It depends on the two rows alone: equal
gallery rows have equal cosines, on every device and in every batch. The cosine with a row of zeros
is 0.

A matrix product adds in an unspecified order. It differs from `pairs` by less than `tolerance`: for
n terms of unit rows, the error of any order of summation is below n u / (1 - n u), where u is the
unit roundoff (Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., section 3.1).
"""

from collections.abc import Iterator
from functools import cached_property

import numpy as np
import torch

from evaluate.errors import EvaluateError

CPU = torch.device("cpu")
Pair = tuple[np.ndarray, np.ndarray]  # arrays for the gallery and the queries
_BLOCK = 2**22  # float32 numbers of the gallery scaled at a time (16 MiB)
_EVEN = 64  # blocks of a multiple of so many rows need no padding
_PRODUCTS = 2**18  # float64 products held at a time (2 MiB, which fit the cache)
_UNIT_ROUNDOFF = {torch.float32: 2.0**-24, torch.float64: 2.0**-53}


class Cosines:
    """Cosines of `queries` (M x C) with `gallery` (N x C), both float32.

    With groups (one integer per row), a query and the gallery rows of its group are siblings.
    Raises EvaluateError for inconsistent shapes and for values that are NaN or infinite.
    """

    def __init__(
        self,
        gallery: np.ndarray,
        queries: np.ndarray,
        groups: Pair | None = None,
        device: torch.device = CPU,
    ) -> None:
        if gallery.ndim != 2 or queries.ndim != 2 or gallery.shape[1] != queries.shape[1]:
            raise EvaluateError(
                f"The gallery has the shape {gallery.shape} and the queries have {queries.shape}. "
                "Both must be rows x channels with equally many channels; extract both with the "
                "same network."
            )
        shapes = (gallery.shape[:1], queries.shape[:1])
        if groups is not None and (groups[0].shape, groups[1].shape) != shapes:
            raise EvaluateError(
                f"There are {len(gallery)} gallery rows and {len(queries)} queries, but groups of "
                f"the shapes {groups[0].shape} and {groups[1].shape}. Give one group per row."
            )
        self.gallery_size, self.device = len(gallery), device
        # Not copied if the rows are writable float32 arrays.
        self._gallery, self._queries = (
            torch.from_numpy(np.require(rows, np.float32, ["C", "W"]))
            for rows in (gallery, queries)
        )
        self._gallery_lengths = _lengths(self._gallery, "gallery")
        self._query_lengths = _lengths(self._queries, "query")
        self._groups = groups and tuple(
            torch.from_numpy(numbers.astype(np.int64)).to(device) for numbers in groups
        )

    def tolerance(self, dtype: torch.dtype) -> float:
        """Upper bound of the difference between a product of `units` of this type and `pairs`. The
        margin of 16 covers the rounding of units, lengths, underflow and of comparisons with this
        bound, so it is never reached."""
        n, u = self._gallery.shape[1], _UNIT_ROUNDOFF[dtype]
        return (n + 16) * (u + _UNIT_ROUNDOFF[torch.float64]) * 1.05

    def query_units(self, queries: slice | torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """Some queries scaled to length 1, on the device."""
        return _units(self._queries[queries], self._query_lengths[queries], dtype, self.device)

    def gallery_units(self, dtype: torch.dtype) -> Iterator[tuple[slice, torch.Tensor]]:
        """The gallery in blocks: the positions of the rows, and the rows scaled to length 1, on the
        device."""
        step = max(1, _BLOCK // max(1, self._gallery.shape[1]))
        step -= step % _EVEN if step > _EVEN else 0
        for start in range(0, self.gallery_size, step):
            block = slice(start, min(start + step, self.gallery_size))
            rows, lengths = self._gallery[block], self._gallery_lengths[block]
            yield block, _units(rows, lengths, dtype, self.device)

    def without_siblings(
        self, products: torch.Tensor, queries: slice | torch.Tensor, gallery: slice
    ) -> torch.Tensor:
        """Set the products of queries with their siblings to -inf, in place."""
        if self._groups is None:
            return products
        of_gallery, of_queries = self._groups
        return products.masked_fill_(of_queries[queries, None] == of_gallery[gallery], -torch.inf)

    def rows(self, queries: torch.Tensor) -> torch.Tensor:
        """float64, some queries x the whole gallery, on the device: within the float64 tolerance of
        `pairs`; -inf for siblings."""
        units = self.query_units(queries, torch.float64)
        scores = units.new_empty(len(queries), self.gallery_size)
        for block, gallery in self.gallery_units(torch.float64):
            products = self.without_siblings(units @ gallery.T, queries.to(self.device), block)
            scores[:, block] = products
        return scores

    def pairs(self, queries: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """float64: the exact cosines of pairs of queries and gallery rows, given by positions
        (int64) of equal length; all on the CPU."""
        cosines = torch.empty(len(queries), dtype=torch.float64)
        step = max(1, _PRODUCTS // max(1, self._gallery.shape[1]))
        for start in range(0, len(queries), step):
            q, g = queries[start : start + step], positions[start : start + step]
            gallery, query = self._gallery.index_select(0, g), self._queries.index_select(0, q)
            products = gallery.to(self.device).double().mul_(query.to(self.device).double())
            lengths = self._query_lengths[q] * self._gallery_lengths[g]
            dots = _add_up(products).cpu()
            cosines[start : start + step] = torch.where(lengths > 0, dots / lengths, 0.0)
        return cosines

    def of_query(self, query: int, positions: np.ndarray) -> np.ndarray:
        """`pairs` for one query; equal gallery rows are computed once."""
        distinct, which = np.unique(self._first_equal[positions], return_inverse=True)
        cosines = self.pairs(torch.full((len(distinct),), query), torch.from_numpy(distinct))
        return np.asarray(cosines.numpy()[which])

    @cached_property
    def _first_equal(self) -> np.ndarray:
        """int64, N: position of the first gallery row with the same bytes."""
        rows = self._gallery.numpy()
        whole = rows.view(np.dtype((np.void, rows.itemsize * rows.shape[1]))).ravel()
        _, first, which = np.unique(whole, return_index=True, return_inverse=True)
        return np.asarray(first[which])


def _add_up(products: torch.Tensor) -> torch.Tensor:
    """Row sums, computed by adding the second half of each row to its first half until one column
    is left. The order of the additions does not depend on the shape of the batch or the device.
    Overwrites its input."""
    width = products.shape[1]
    while width > 1:
        half = 1 << (width - 1).bit_length() - 1  # the largest power of two below the width
        products[:, : width - half] += products[:, half:width]
        width = half
    return products[:, :1].sum(dim=1)  # one column, or none


def _lengths(rows: torch.Tensor, name: str) -> torch.Tensor:
    """float64: Euclidean lengths of the rows. Squares of float32 numbers cannot overflow float64,
    so a length is finite exactly if its row is. Raises EvaluateError for rows that are not."""
    step = max(1, _PRODUCTS // max(1, rows.shape[1]))
    lengths = torch.cat([_add_up(some.double().square_()) for some in rows.split(step)]).sqrt_()
    wrong = (~lengths.isfinite()).nonzero()[:, 0]
    if len(wrong):
        raise EvaluateError(
            f"{len(wrong)} of {len(rows)} {name} rows have NaN or infinite values; the first is "
            f"row {wrong[0]}. Features must be finite: check whether the network diverged, or "
            "extract them again."
        )
    return lengths


def _units(
    rows: torch.Tensor, lengths: torch.Tensor, dtype: torch.dtype, device: torch.device
) -> torch.Tensor:
    """Rows scaled to length 1 in float64, in blocks that fit the cache."""
    inverse = torch.where(lengths > 0, 1 / lengths, 0.0).to(device)
    step = max(1, _PRODUCTS // max(1, rows.shape[1]))
    units = torch.empty(rows.shape, dtype=dtype, device=device)
    for start in range(0, len(rows), step):
        some = slice(start, start + step)
        units[some] = rows[some].to(device) * inverse[some, None]
    return units
