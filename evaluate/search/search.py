"""Search: find the clips of a store that are nearest to those of a query by cosine, exactly."""

from dataclasses import dataclass

import numpy as np
import torch

from evaluate.choices import SEARCH_CENTRINGS
from evaluate.errors import EvaluateError, EvaluateUsageError
from evaluate.features.store import Features

FEWEST = 10  # different videos needed for centring; a mean of fewer resembles each of them
ALIKE = 0.998  # minimum cosine of raw features of copies, which few other videos reach
_SAMPLE = 1000  # videos compared to detect copies
_ROWS = 1 << 15  # gallery clips at a time, to limit memory
_DIGITS = 1e6  # cosines are rounded to 1 / _DIGITS, the precision of float32 features


@dataclass(frozen=True)
class Match:
    """A video that was found, with its best pair of clips.

    Attributes:
        video: position in the store
        cosine: cosine of the two clips
        clip: position among the store's clips
        query_clip: position among the query's clips
    """

    video: int
    cosine: float
    clip: int
    query_clip: int


def centre_of(store: Features, centring: str = SEARCH_CENTRINGS[0]) -> np.ndarray:
    """The vector to subtract from features before cosines are computed: float32, channels.

    `gallery mean`: the mean of the store's videos, each with the same weight however long it is.
    Without it, all cosines are near 1, because features after a ReLU are not negative. If many
    videos are nearly the same, they count as one: otherwise the mean would be nearly equal to them,
    and subtracting it would leave mostly noise. `none`, or fewer than FEWEST different videos:
    zeros. Raises EvaluateError for any other value.
    """
    if centring not in SEARCH_CENTRINGS:
        raise EvaluateUsageError(
            f"centring is {centring!r}; it takes {', '.join(SEARCH_CENTRINGS)}."
        )
    weights = _weights(store.features)
    if centring == "none" or weights.sum() < FEWEST - 0.5:
        return np.zeros(store.features.shape[1], np.float32)
    if (weights == 1).all():
        mean: np.ndarray = store.features.mean(axis=0, dtype=np.float64)
    else:
        mean = weights @ store.features.astype(np.float64) / weights.sum()
    return mean.astype(np.float32)


def different_videos(store: Features) -> int:
    """The number of videos that count for the mean; many copies count as one."""
    return round(float(_weights(store.features).sum()))


def _weights(features: np.ndarray) -> np.ndarray:
    """float64, videos: weights for the mean. They are 1, unless more than a third of the videos
    have a cosine of at least ALIKE with an earlier one; then similar videos together have the
    weight 1."""
    rows = unit_rows(features, np.zeros(features.shape[1], np.float32))
    sample = rows[:: max(1, -(-len(rows) // _SAMPLE))]  # a sample suffices for large stores
    alike = sample @ sample.T >= ALIKE
    is_free, leaders = torch.ones(len(sample), dtype=torch.bool), []
    for i in range(len(sample)):
        if is_free[i]:
            leaders.append(i)
            is_free &= ~alike[i]
    if 3 * len(leaders) >= 2 * len(sample):
        return np.ones(len(rows))
    first = sample[leaders]
    groups = np.arange(len(rows)) + len(leaders)
    for start in range(0, len(rows), _ROWS):
        best = (rows[start : start + _ROWS] @ first.T).max(dim=1)
        some = groups[start : start + _ROWS]  # a view
        some[:] = np.where(best.values.numpy() >= ALIKE, best.indices.numpy(), some)
    _, group, counts = np.unique(groups, return_inverse=True, return_counts=True)
    weights: np.ndarray = 1 / counts[group]
    return weights


def unit_rows(features: np.ndarray, centre: np.ndarray, what: str = "The store") -> torch.Tensor:
    """float32, N x channels + 1: rows minus the centre, of length 1. The last component is 1 for
    rows that equal the centre, and 0 for all others, so that equal rows always have the cosine 1.
    Raises EvaluateError for features that are NaN or infinite."""
    rows = torch.from_numpy(features) - torch.from_numpy(centre)
    if not bool(torch.isfinite(rows).all()):
        raise EvaluateError(
            f"{what} has features that are NaN or infinite: the network or its weights are "
            "damaged. Extract them again with other weights."
        )
    # Scaled first, as squares of very small or large float32 numbers are 0 or infinite.
    rows = rows / rows.abs().amax(dim=1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
    is_nothing = (rows == 0).all(dim=1, keepdim=True)
    return torch.cat([torch.nn.functional.normalize(rows, dim=1), is_nothing.float()], dim=1)


def search(gallery: Features, query: np.ndarray, k: int, centre: np.ndarray) -> list[Match]:
    """The best min(k, videos) videos of a store for a query (float32, clips x channels), best
    first; of equals (to a millionth), the first in the store.

    A video's cosine is that of its best pair (clip of the query, clip of the video). Raises
    EvaluateError if the query's features have another number of channels, or if features are NaN or
    infinite.
    """
    clips = gallery.clip_features
    if query.shape[1] != clips.shape[1]:
        raise EvaluateError(
            f"{gallery.path} has features with {clips.shape[1]} channels, and the query's have "
            f"{query.shape[1]}: they are from different encoders."
        )
    # In float64, as float32 sums differ by more than a millionth between processors.
    queries = unit_rows(query, centre, "The query").double().T
    cosines = np.empty(len(clips), np.float32)
    partners = np.empty(len(clips), np.int64)
    for first in range(0, len(clips), _ROWS):
        some = slice(first, first + _ROWS)
        table = unit_rows(clips[some], centre, str(gallery.path)).double() @ queries
        best = table.mul_(_DIGITS).round_().max(dim=1)  # so that rounding does not decide
        cosines[some], partners[some] = best.values.numpy() / _DIGITS, best.indices.numpy()
    best_clips = _best_clips(cosines, gallery.clip_video)
    order = np.argsort(-cosines[best_clips], kind="stable")[:k]
    return [
        Match(int(gallery.clip_video[c]), float(cosines[c]), int(c), int(partners[c]))
        for c in best_clips[order]
    ]


def _best_clips(cosines: np.ndarray, clip_video: np.ndarray) -> np.ndarray:
    """int64, videos: position of each video's best clip; of equals, the first."""
    order = np.lexsort((np.arange(len(cosines)), -cosines, clip_video))
    _, first = np.unique(clip_video[order], return_index=True)
    best: np.ndarray = order[first]
    return best


def time_code(seconds: float) -> str:
    """Minutes and seconds, such as "01:23.3" for 83.26."""
    minutes, tenths = divmod(round(10 * seconds), 600)
    return f"{minutes:02d}:{tenths / 10:04.1f}"


def span_text(store: Features, first: int, last: int | None = None) -> str:
    """The time span in its video from clip `first` to clip `last` (by default, of one clip), such
    as "00:03.0-00:04.1"; frame numbers if the frame rate is unknown."""
    last = first if last is None else last
    begin, end = store.seconds(first), store.seconds(last)
    if begin is None or end is None:
        return f"frames {store.clip_frames[first, 0]}-{store.clip_frames[last, 1]}"
    return f"{time_code(begin[0])}-{time_code(end[1])}"
