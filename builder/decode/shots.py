"""Where shots begin: cuts, found by how much a frame differs from the one before it."""

from collections.abc import Sequence

import numpy as np

_LEAST = 6.0  # percent of the full range by which frames differ at a cut, at least ...
_TIMES = 2.0  # ... and how many times as much as any of their neighbours do
_NEIGHBOURS = 6  # frames on both sides


def difference(before: np.ndarray | None, luma: np.ndarray) -> float:
    """The mean absolute difference of two frames (uint8), in percent of 256, as ffmpeg's filter
    scdet gives it ("mafd"); 0 of the first frame, which has none before it."""
    if before is None:
        return 0.0
    return round(100 / 256 * float(np.abs(luma.astype(np.int16) - before).mean()), 3)


def cuts_in(differences: Sequence[float]) -> tuple[int, ...]:
    """The numbers of the frames at which a new shot begins, by each frame's `difference` from the
    one before it: where that is large and stands alone. Motion and a shaking camera differ for many
    frames, a flash for two. Of cuts that are closer than _NEIGHBOURS, one may hide the other."""
    changes = np.asarray(differences, np.float64)
    largest = np.zeros(len(changes))  # of each one's neighbours
    for i in range(1, _NEIGHBOURS + 1):
        largest[i:] = np.maximum(largest[i:], changes[:-i])
        largest[:-i] = np.maximum(largest[:-i], changes[i:])
    is_cut = (changes >= _LEAST) & (changes >= _TIMES * largest)
    return tuple(np.flatnonzero(is_cut).tolist())
