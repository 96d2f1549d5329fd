"""Galleries and queries with ties of every kind, and their full ranking in the documented order."""

import numpy as np
import torch
from hypothesis import strategies as st

from evaluate.retrieval.cosine import Cosines, Pair

KINDS = ("random", "few values", "copies", "nearly equal", "rising", "one row")


@st.composite
def galleries(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, Pair | None]:
    """Draw a gallery, queries and their groups (or None)."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n, m = draw(st.integers(1, 130)), draw(st.integers(1, 18))
    channels, kind = draw(st.sampled_from([1, 2, 3, 8, 33])), draw(st.sampled_from(KINDS))
    gallery, queries = (rng.normal(size=(x, channels)).astype(np.float32) for x in (n, m))
    if kind == "few values":  # rows of zeros among them
        gallery, queries = np.round(gallery), np.round(queries)
    elif kind == "copies":
        gallery = gallery[rng.integers(0, 1 + n // 4, n)]
    elif kind == "nearly equal":
        scale = draw(st.sampled_from([1e-6, 1e-7]))
        gallery = (1 + scale * gallery).astype(np.float32)
    elif kind == "rising":
        gallery = gallery[np.argsort(gallery @ queries[0])]
    elif kind == "one row":
        gallery = np.tile(gallery[:1], (n, 1))
    groups = (rng.integers(0, 6, n), rng.integers(0, 6, m)) if draw(st.booleans()) else None
    return gallery, queries, groups


def full_ranking(
    gallery: np.ndarray, queries: np.ndarray, groups: Pair | None = None
) -> np.ndarray:
    """Rank the whole gallery for every query, by `Cosines.pairs`: int64, queries x gallery,
    positions, best first; siblings are left out, and -1 fills the end."""
    cosines = Cosines(gallery, queries)
    ranking = np.full((len(queries), len(gallery)), -1)
    for q in range(len(queries)):
        every = torch.full((len(gallery),), q)
        scores = cosines.pairs(every, torch.arange(len(gallery))).numpy()
        order = np.argsort(-scores, kind="stable")
        if groups is not None:
            order = order[groups[0][order] != groups[1][q]]
        ranking[q, : len(order)] = order
    return ranking
