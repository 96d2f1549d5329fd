"""Label-free scores of features, in float64. Whether a score predicts which of two networks is
better must be measured."""

from dataclasses import dataclass

import numpy as np

from evaluate.features.store import Features

EPSILON = 1e-7  # of RankMe, added to the shares of the singular values
LIDAR_DELTA = 1e-4  # of LiDAR, added to the scatter within videos
MOST = 10_000  # videos used, evenly spaced
MOST_NUMBERS = 2**27  # numbers in clip_features (512 MiB); scores that need more are left out
PAIRS = 2**14  # most pairs of rows for uniformity
UNIFORMITY = 2.0  # t of uniformity


@dataclass(frozen=True)
class Score:
    """How a score is shown.

    Attributes:
        title: name of the score
        meaning: explanation in a few words, with the direction that is better
        digits: number of decimals
    """

    title: str
    meaning: str
    digits: int


SCORES = {
    "effective_rank": Score(
        "effective rank",
        "effective number of dimensions of the video features (RankMe), from 1 to the number of "
        "channels; higher is richer",
        1,
    ),
    "lidar": Score(
        "LiDAR",
        "effective number of dimensions in which videos differ, relative to the differences within "
        "a video, from 1 to the number of channels; higher is richer",
        1,
    ),
    "alignment": Score(
        "alignment",
        "mean squared distance between clips of one video, from 0 to 4; lower is more alike",
        3,
    ),
    "uniformity": Score(
        "uniformity",
        "how evenly the video features cover the unit sphere, 0 if all are equal; lower is more "
        "even",
        3,
    ),
}


def label_free(stored: Features) -> dict[str, float | None]:
    """All scores of a feature store. None for alignment and LiDAR if videos have one clip each, or
    if the clip features have more than MOST_NUMBERS numbers."""
    some = np.linspace(0, len(stored.features) - 1, min(MOST, len(stored.features))).astype(int)
    scores = {
        "effective_rank": effective_rank(stored.features[some]),
        "alignment": np.nan,
        "uniformity": uniformity(stored.features[some]),
        "lidar": np.nan,
    }
    if len(stored.clip_video) * stored.features.shape[1] <= MOST_NUMBERS:
        clips = np.flatnonzero(np.isin(stored.clip_video, some))
        features, video = stored.clip_features[clips], stored.clip_video[clips]
        scores |= {"alignment": alignment(features, video), "lidar": lidar(features, video)}
    return {name: score if np.isfinite(score) else None for name, score in scores.items()}


def effective_rank(features: np.ndarray) -> float:
    """RankMe (Garrido et al. 2023, arXiv 2210.02885, equation 1) of N x C features, which are not
    centred: the exponential of the entropy of their singular values, normalised to sum 1. From 1 to
    min(N, C)."""
    rows = features.astype(np.float64)
    squares = np.linalg.eigvalsh(rows.T @ rows)  # squared singular values
    return _exponential_of_entropy(np.sqrt(squares.clip(min=0)))


def alignment(features: np.ndarray, video: np.ndarray) -> float:
    """Mean squared distance between clips of one video (Wang & Isola 2020, arXiv 2005.10242,
    section 4.1, alpha = 2). Clips, N x C, are L2-normalised, and every video has the same weight.
    From 0 to 4; nan if no video has two clips. `video` (int, N) is the video of each clip."""
    rows = _units(features)
    means = []
    for of_video in _by_video(video):
        if (count := len(of_video)) > 1:
            total = rows[of_video].sum(axis=0)
            squares = np.square(rows[of_video]).sum()
            # The sum over pairs of |a - b|^2 is n sum |a|^2 - |sum a|^2.
            means.append(2 * (count * squares - total @ total) / (count * (count - 1)))
    return float(np.mean(means)) if means else float("nan")


def uniformity(features: np.ndarray, seed: int = 0) -> float:
    """Logarithm of the mean of exp(-2 |a - b|^2) over pairs of different rows (Wang & Isola 2020,
    section 4.1, t = 2) of L2-normalised features, N x C: 0 if all are equal, and lower the more
    evenly they are spread. Over all pairs, or PAIRS random ones; nan for a single row."""
    rows, count = _units(features), len(features)
    if count < 2:
        return float("nan")
    if count * (count - 1) // 2 <= PAIRS:
        first, second = np.triu_indices(count, 1)
    else:
        rng = np.random.default_rng(seed)
        first = rng.integers(count, size=PAIRS)
        second = (first + rng.integers(1, count, size=PAIRS)) % count
    distances = np.square(rows[first] - rows[second]).sum(axis=1)
    return float(np.log(np.exp(-UNIFORMITY * distances).mean()))


def lidar(features: np.ndarray, video: np.ndarray) -> float:
    """LiDAR (Thilak et al. 2024, arXiv 2312.04000, section 3) of clips, N x C: the effective rank
    of the scatter between videos, whitened by the scatter within videos. nan if no video has two
    clips. `video` (int, N) is the video of each clip."""
    rows = features.astype(np.float64)
    of_videos = [of_video for of_video in _by_video(video) if len(of_video) > 1]
    if not of_videos:
        return float("nan")
    means = np.stack([rows[of_video].mean(axis=0) for of_video in of_videos])
    inside = np.concatenate(
        [rows[of_video] - mean for of_video, mean in zip(of_videos, means, strict=True)]
    )
    within = inside.T @ inside / len(inside) + LIDAR_DELTA * np.eye(rows.shape[1])
    values, vectors = np.linalg.eigh(within)
    whitened = (means - means.mean(axis=0)) @ (vectors / np.sqrt(values))
    return _exponential_of_entropy(np.square(np.linalg.svd(whitened, compute_uv=False)))


def _exponential_of_entropy(values: np.ndarray) -> float:
    shares = values / max(values.sum(), np.finfo(np.float64).tiny) + EPSILON
    return float(np.exp(-(shares * np.log(shares)).sum()))


def _units(features: np.ndarray) -> np.ndarray:
    rows = features.astype(np.float64)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(lengths > 0, lengths, 1.0)


def _by_video(video: np.ndarray) -> list[np.ndarray]:
    """The positions of each video's rows."""
    order = np.argsort(video, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(video[order])) + 1)
