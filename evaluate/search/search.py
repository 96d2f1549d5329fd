"""Search: the clips of a store that are nearest to those of a query, by cosine, exact."""

from dataclasses import dataclass

import numpy as np
import torch

from evaluate.choices import SEARCH_CENTRINGS
from evaluate.errors import EvaluateError, EvaluateUsageError
from evaluate.features.store import Features

FEWEST = 10  # videos that a mean is taken of; of fewer it is mostly the videos themselves
ALIKE = 0.998  # cosine of raw features: copies that are encoded again, mostly; seldom others
_SAMPLE = 1000  # videos that are looked at for how many are alike
_ROWS = 1 << 15  # gallery clips at a time; bounds memory
_DIGITS = 1e6  # cosines count to so many parts of 1, which is what float32 knows of features


@dataclass(frozen=True)
class Match:
    """A video that was found, by its best pair of clips.

    Attributes:
        video: position in the store
        cosine: of the two clips
        clip: position among the store's clips
        query_clip: position among the query's clips
    """

    video: int
    cosine: float
    clip: int
    query_clip: int


def centre_of(store: Features, centring: str = SEARCH_CENTRINGS[0]) -> np.ndarray:
    """What to take from every feature before cosines: float32, channels.

    `gallery mean`: the mean of the store's videos, each counting the same however long it is.
    Features after a ReLU are nowhere negative, so without it all cosines are near 1. Where many
    videos are nearly the same, these count as one: their mean would be the videos themselves, and
    little but noise would be left of them. `none`, or fewer than FEWEST different videos: zeros.
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
    """How many videos of a store a mean would be taken of: of copies, where they are many, one."""
    return round(float(_weights(store.features).sum()))


def _weights(features: np.ndarray) -> np.ndarray:
    """float64, videos: what each counts in a mean. 1, unless more than a third of the videos have
    a cosine of ALIKE with an earlier one, as they are: then all that are alike count 1 together."""
    rows = unit_rows(features, np.zeros(features.shape[1], np.float32))
    sample = rows[:: max(1, -(-len(rows) // _SAMPLE))]  # of a large store a part says enough
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
    """float32, N x channels + 1: rows less the centre, of length 1. The last number is 0, but 1 for
    rows of which nothing is left: equal rows have the cosine 1, whatever the centre. Raises
    EvaluateError for features that are no numbers."""
    rows = torch.from_numpy(features) - torch.from_numpy(centre)
    if not bool(torch.isfinite(rows).all()):
        raise EvaluateError(
            f"{what} holds features that are no numbers (NaN or infinite): the network or its "
            "weights are damaged. Extract them anew with other weights."
        )
    # Scaled first: squares of very small or large float32 are 0 or infinite.
    rows = rows / rows.abs().amax(dim=1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
    is_nothing = (rows == 0).all(dim=1, keepdim=True)
    return torch.cat([torch.nn.functional.normalize(rows, dim=1), is_nothing.float()], dim=1)


def search(gallery: Features, query: np.ndarray, k: int, centre: np.ndarray) -> list[Match]:
    """The min(k, videos) best videos of a store for a query (float32, clips x channels), best
    first; of equals (to a millionth), the one that comes first in the store.

    A video's cosine is that of its best pair (clip of the query, clip of the video). Raises
    EvaluateError if the query's features are of another length, or if features are no numbers.
    """
    clips = gallery.clip_features
    if query.shape[1] != clips.shape[1]:
        raise EvaluateError(
            f"{gallery.path} holds features of {clips.shape[1]} channels, and the query's have "
            f"{query.shape[1]}: they are of two encoders."
        )
    # In float64: sums of float32 differ by more than a millionth between processors.
    queries = unit_rows(query, centre, "The query").double().T
    cosines = np.empty(len(clips), np.float32)
    partners = np.empty(len(clips), np.int64)
    for first in range(0, len(clips), _ROWS):
        some = slice(first, first + _ROWS)
        table = unit_rows(clips[some], centre, str(gallery.path)).double() @ queries
        best = table.mul_(_DIGITS).round_().max(dim=1)  # rounding noise must not decide
        cosines[some], partners[some] = best.values.numpy() / _DIGITS, best.indices.numpy()
    best_clips = _best_clips(cosines, gallery.clip_video)
    order = np.argsort(-cosines[best_clips], kind="stable")[:k]
    return [
        Match(int(gallery.clip_video[c]), float(cosines[c]), int(c), int(partners[c]))
        for c in best_clips[order]
    ]


def _best_clips(cosines: np.ndarray, clip_video: np.ndarray) -> np.ndarray:
    """int64, videos: the position of each video's best clip, the first of equals."""
    order = np.lexsort((np.arange(len(cosines)), -cosines, clip_video))
    _, first = np.unique(clip_video[order], return_index=True)
    best: np.ndarray = order[first]
    return best


def time_code(seconds: float) -> str:
    """Minutes and seconds: 83.26 is "01:23.3"."""
    minutes, tenths = divmod(round(10 * seconds), 600)
    return f"{minutes:02d}:{tenths / 10:04.1f}"


def span_text(store: Features, first: int, last: int | None = None) -> str:
    """When a clip plays in its video, or all from clip `first` to clip `last`: "00:03.0-00:04.1";
    its frames if the video's frame rate is not known."""
    last = first if last is None else last
    begin, end = store.seconds(first), store.seconds(last)
    if begin is None or end is None:
        return f"frames {store.clip_frames[first, 0]}-{store.clip_frames[last, 1]}"
    return f"{time_code(begin[0])}-{time_code(end[1])}"
