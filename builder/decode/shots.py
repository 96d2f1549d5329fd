"""Detect cuts between shots by the difference between successive frames."""

from collections.abc import Sequence

import numpy as np

_LEAST = 6.0  # minimum difference at a cut, in percent of the full range ...
_TIMES = 2.0  # ... and minimum ratio to the differences of the neighbouring frames
_NEIGHBOURS = 6  # frames on either side


def difference(before: np.ndarray | None, luma: np.ndarray) -> float:
    """Mean absolute difference of the luma of two frames (uint8), in percent of 256, as ffmpeg's
    filter scdet computes it ("mafd"); 0 for the first frame, which has none before it."""
    if before is None:
        return 0.0
    return round(100 / 256 * float(np.abs(luma.astype(np.int16) - before).mean()), 3)


def cuts_in(differences: Sequence[float]) -> tuple[int, ...]:
    """Numbers of the frames at which a new shot begins, given each frame's `difference` from the
    one before: those where it is large and isolated. Motion and a shaking camera give large
    differences for many frames, a flash for two. Of two cuts closer than _NEIGHBOURS, one may be
    missed."""
    changes = np.asarray(differences, np.float64)
    largest = np.zeros(len(changes))  # among each frame's neighbours
    for i in range(1, _NEIGHBOURS + 1):
        largest[i:] = np.maximum(largest[i:], changes[:-i])
        largest[:-i] = np.maximum(largest[:-i], changes[i:])
    is_cut = (changes >= _LEAST) & (changes >= _TIMES * largest)
    return tuple(np.flatnonzero(is_cut).tolist())
