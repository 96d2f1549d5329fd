"""Cosines of queries with a gallery: blocks that are fast, and values that are exact.

A cosine here is what `Cosines.pairs` says: the float64 sum of the products of two float32 rows,
added up in one fixed order, over the product of their lengths. It depends on the two rows alone:
equal gallery rows have equal cosines, on every device and whatever else is computed beside them. A
row of zeros has the cosine 0 with everything.

A matrix product adds up in an order of its own. What it says differs from `pairs` by `tolerance` at
most: for n terms of unit rows the error of any order of summation is below n u / (1 - n u), u being
the unit roundoff (Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., section 3.1).
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from hashlib import blake2b

import numpy as np
import torch

from evaluate.errors import EvaluateError
from trainer.float32 import float32_products

CPU = torch.device("cpu")
GALLERY_BLOCK = 1024  # gallery rows that are converted at a time
_PRODUCTS = 2**18  # float64 products that are held at a time (2 MiB: they stay in the cache)
_UNIT_ROUNDOFF = {torch.float32: 2.0**-24, torch.float64: 2.0**-53}


class Cosines:
    """Cosines of `queries` (M x C) with `gallery` (N x C), both float32.

    With groups (integers, one a row), a query and the gallery rows of its own group are siblings.
    Raises EvaluateError for shapes that do not fit and for values that are not finite.
    """

    def __init__(
        self,
        gallery: np.ndarray,
        queries: np.ndarray,
        gallery_groups: np.ndarray | None = None,
        query_groups: np.ndarray | None = None,
        device: torch.device = CPU,
    ) -> None:
        if gallery.ndim != 2 or queries.ndim != 2 or gallery.shape[1] != queries.shape[1]:
            raise EvaluateError(
                f"The gallery has the shape {gallery.shape} and the queries have {queries.shape}. "
                "Both must be rows x channels with as many channels; extract both with one network."
            )
        self.device = device
        self._gallery, self._queries = _float32(gallery), _float32(queries)
        self._gallery_lengths = _lengths(self._gallery, "gallery")
        self._query_lengths = _lengths(self._queries, "query")
        self._groups = _groups(gallery_groups, query_groups, len(gallery), len(queries), device)
        self._first_equal: np.ndarray | None = None

    @property
    def gallery_size(self) -> int:
        return len(self._gallery)

    @property
    def query_count(self) -> int:
        return len(self._queries)

    def tolerance(self, dtype: torch.dtype) -> float:
        """Between a product of `units` of this type and `pairs`. The 16 make up for the rounding
        of units, lengths, underflow and of sums with this number; so it is never reached."""
        n, u = self._gallery.shape[1], _UNIT_ROUNDOFF[dtype]
        return (n + 16) * (u + _UNIT_ROUNDOFF[torch.float64]) * 1.05

    def query_units(self, some: slice | torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """Some queries, scaled to length 1, on the device."""
        return _units(self._queries[some], self._query_lengths[some], dtype, self.device)

    def gallery_units(self, dtype: torch.dtype) -> Iterator[tuple[int, torch.Tensor]]:
        """The gallery block by block, scaled to length 1, on the device; where each begins."""
        for start in range(0, self.gallery_size, GALLERY_BLOCK):
            block = slice(start, start + GALLERY_BLOCK)
            yield (
                start,
                _units(self._gallery[block], self._gallery_lengths[block], dtype, self.device),
            )

    def siblings(
        self, queries: slice | torch.Tensor, gallery: slice | torch.Tensor
    ) -> torch.Tensor | None:
        """bool, for groups that broadcast; None where there are no groups at all."""
        if self._groups is None:
            return None
        of_gallery, of_queries = self._groups
        if isinstance(gallery, slice):
            return of_queries[queries][:, None] == of_gallery[gallery]
        return of_queries[queries] == of_gallery[gallery]

    def rows(self, some: torch.Tensor) -> torch.Tensor:
        """float64, some queries x the whole gallery, on the device: within the tolerance for
        float64 of `pairs`; -inf for siblings."""
        units = self.query_units(some, torch.float64)
        scores = units.new_empty(len(some), self.gallery_size)
        for start, block in self.gallery_units(torch.float64):
            columns = slice(start, start + len(block))
            scores[:, columns] = units @ block.T
            siblings = self.siblings(some.to(self.device), columns)
            if siblings is not None:
                scores[:, columns].masked_fill_(siblings, -torch.inf)
        return scores

    def pairs(self, queries: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """float64: the cosine of every pair of a query and a gallery row (int64, both as long),
        all on the CPU."""
        cosines = torch.empty(len(queries), dtype=torch.float64)
        step = max(1, _PRODUCTS // max(1, self._gallery.shape[1]))
        for start in range(0, len(queries), step):
            q, g = queries[start : start + step], positions[start : start + step]
            own, other = self._gallery.index_select(0, g), self._queries.index_select(0, q)
            products = own.to(self.device).double().mul_(other.to(self.device).double())
            dots = _add_up(products).cpu()
            lengths = self._query_lengths[q] * self._gallery_lengths[g]
            cosines[start : start + step] = torch.where(lengths > 0, dots / lengths, 0.0)
        return cosines

    def of_query(self, query: int, positions: np.ndarray) -> np.ndarray:
        """`pairs` of one query; equal gallery rows are computed once, however many there are."""
        if self._first_equal is None:
            self._first_equal = _first_equal(self._gallery.numpy())
        distinct, which = np.unique(self._first_equal[positions], return_inverse=True)
        cosines = self.pairs(torch.full((len(distinct),), query), torch.from_numpy(distinct))
        return np.asarray(cosines.numpy()[which])


def full_precision() -> AbstractContextManager[None]:
    """Products of float32 matrices as the tolerance takes them to be: no TF32, no bfloat16."""
    return float32_products()


def _float32(rows: np.ndarray) -> torch.Tensor:
    """No copy where the rows are float32 already and may be written to."""
    return torch.from_numpy(np.require(rows, np.float32, ["C", "W"]))


def _add_up(products: torch.Tensor) -> torch.Tensor:
    """Sums of the rows: the second half onto the first, until one is left. Only additions of
    elements, so that the order is the same whatever the shape and the device. Uses up its input."""
    width = products.shape[1]
    if not width:
        return products.new_zeros(len(products))
    half = 1 << (width - 1).bit_length() >> 1  # the largest power of two below the width
    if half:
        products[:, : width - half] += products[:, half:]
    while half > 1:
        half //= 2
        products = products[:, :half] + products[:, half : 2 * half]
    return products[:, 0].clone()


def _lengths(rows: torch.Tensor, name: str) -> torch.Tensor:
    """float64: Euclidean lengths of the rows. Squares of float32 cannot overflow float64, so that
    a length is finite just where its row is."""
    step = max(1, _PRODUCTS // max(1, rows.shape[1]))
    sums = [_add_up(some.double().square_()) for some in rows.split(step)]
    lengths = torch.cat(sums).sqrt_() if sums else torch.empty(0, dtype=torch.float64)
    wrong = (~lengths.isfinite()).nonzero()[:, 0]
    if len(wrong):
        raise EvaluateError(
            f"{len(wrong)} of {len(rows)} {name} rows hold NaN or infinite values, the first is "
            f"row {wrong[0]}. Features must be finite: see whether the network diverged, or "
            "extract them again."
        )
    return lengths


def _units(
    rows: torch.Tensor, lengths: torch.Tensor, dtype: torch.dtype, device: torch.device
) -> torch.Tensor:
    inverse = torch.where(lengths > 0, 1 / lengths, 0.0).to(device)
    return (rows.to(device) * inverse[:, None]).to(dtype)  # in float64, whatever the lengths are


def _groups(
    gallery: np.ndarray | None,
    queries: np.ndarray | None,
    gallery_size: int,
    query_count: int,
    device: torch.device,
) -> tuple[torch.Tensor, torch.Tensor] | None:
    if gallery is None and queries is None:
        return None
    if gallery is None or queries is None:
        raise EvaluateError(
            "Groups were given for one of gallery and queries only. Give those of both, or none."
        )
    if gallery.shape != (gallery_size,) or queries.shape != (query_count,):
        raise EvaluateError(
            f"There are {gallery_size} gallery rows and {query_count} queries, but groups of the "
            f"shapes {gallery.shape} and {queries.shape}. Give one group a row."
        )
    of_gallery, of_queries = (torch.from_numpy(g.astype(np.int64)) for g in (gallery, queries))
    return of_gallery.to(device), of_queries.to(device)


def _first_equal(rows: np.ndarray) -> np.ndarray:
    """int64, N: where the first row lies that has the same bytes."""
    seen: dict[bytes, int] = {}
    return np.array(
        [seen.setdefault(blake2b(row, digest_size=16).digest(), i) for i, row in enumerate(rows)],
        np.int64,
    )
