"""Retrieval: nearest neighbours of every query in the gallery, by cosine, exact."""

from collections.abc import Sequence

import numpy as np
import torch

RANKS = (1, 5, 10, 20, 50)
_CHUNK = 1024  # queries at a time; bounds memory


def nearest(gallery: np.ndarray, queries: np.ndarray, k: int) -> np.ndarray:
    """int64, queries x min(k, gallery): positions of the nearest gallery rows by cosine, best
    first; of equals, the one that comes first in the gallery. Both float32, N x channels."""
    base = torch.nn.functional.normalize(torch.from_numpy(gallery), dim=1)
    every = torch.nn.functional.normalize(torch.from_numpy(queries), dim=1)
    found = []
    for some in every.split(_CHUNK):
        order = torch.sort(some @ base.T, dim=1, descending=True, stable=True).indices
        found.append(order[:, :k])
    return torch.cat(found).numpy()


def recall(
    neighbours: np.ndarray,
    gallery_labels: np.ndarray,
    query_labels: np.ndarray,
    gallery_size: int,
    ranks: Sequence[int] = RANKS,
) -> dict[str, float | None]:
    """recall@k in percent: the share of queries with one of their k nearest gallery videos in
    their own class. None where the gallery holds fewer than k videos."""
    hits = gallery_labels[neighbours] == query_labels[:, None]
    return {
        f"recall@{k}": float(100 * hits[:, :k].any(axis=1).mean()) if k <= gallery_size else None
        for k in ranks
    }
