from itertools import combinations

import numpy as np
import pytest
from scipy.linalg import sqrtm

from evaluate.label_free import LIDAR_DELTA, PAIRS, alignment, effective_rank, lidar, uniformity


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def entropy_rank(values: np.ndarray) -> float:
    shares = values / values.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


@pytest.mark.parametrize("rank", [1, 3, 8])
def test_the_effective_rank_of_equal_directions_is_their_number(rank):
    rows = np.zeros((16, 8), np.float32)
    rows[:rank, :rank] = 5 * np.eye(rank)
    assert effective_rank(rows) == pytest.approx(rank, abs=1e-3)
    rows = normal(0, 200, 12) * np.geomspace(1, 1e-3, 12)
    singular = np.linalg.svd(rows, compute_uv=False)
    assert effective_rank(rows) == pytest.approx(entropy_rank(singular), rel=1e-4)
    assert effective_rank(3 * rows) == pytest.approx(effective_rank(rows))


def test_alignment_is_the_mean_over_pairs_of_a_video():
    rows, video = normal(1, 9, 4), np.array([5, 2, 5, 2, 5, 7, 2, 2, 9])
    units = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    means = []
    for number in (2, 5):
        own = np.flatnonzero(video == number)
        means.append(
            np.mean([np.square(units[a] - units[b]).sum() for a, b in combinations(own, 2)])
        )
    assert alignment(rows, video) == pytest.approx(np.mean(means), rel=1e-5)
    assert alignment(np.ones((4, 3)), np.array([0, 0, 1, 1])) == pytest.approx(0, abs=1e-12)
    assert np.isnan(alignment(rows, np.arange(9)))


def test_uniformity_is_the_mean_over_all_pairs_or_drawn_ones():
    rows = normal(2, 20, 5)
    units = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    pairs = [np.exp(-2 * np.square(a - b).sum()) for a, b in combinations(units, 2)]
    assert uniformity(rows) == pytest.approx(np.log(np.mean(pairs)), rel=1e-5)
    assert uniformity(np.ones((7, 3))) == pytest.approx(0)
    many = normal(3, 1000, 3)
    units = many / np.linalg.norm(many, axis=1, keepdims=True)
    first, second = np.triu_indices(1000, 1)
    assert len(first) > PAIRS
    exact = np.log(np.exp(-2 * np.square(units[first] - units[second]).sum(1)).mean())
    assert uniformity(many) == pytest.approx(exact, abs=0.03)
    assert uniformity(many) == uniformity(many) and np.isnan(uniformity(rows[:1]))


def test_lidar_is_the_rank_of_the_whitened_scatter():
    means, video = 3 * normal(4, 12, 6), np.repeat(np.arange(12), 4)
    rows = means[video] + normal(5, 48, 6) * np.geomspace(1, 0.1, 6)
    centres = np.stack([rows[video == v].mean(0) for v in range(12)])
    within = np.mean([np.outer(x, x) for x in rows - centres[video]], axis=0)
    inverse = np.linalg.inv(sqrtm(within + LIDAR_DELTA * np.eye(6)).real)
    between = np.cov(centres.T, bias=True)
    expected = entropy_rank(np.linalg.eigvalsh(inverse @ between @ inverse))
    assert lidar(rows, video) == pytest.approx(expected, rel=1e-4)
    turned = np.random.default_rng(6).permutation(48)
    assert lidar(rows[turned], video[turned]) == pytest.approx(expected, rel=1e-4)
    assert np.isnan(lidar(rows, np.arange(48)))


def test_noise_between_clips_takes_directions_away_from_lidar_but_not_from_the_rank():
    means, video = normal(7, 40, 8), np.repeat(np.arange(40), 3)
    quiet = means[video] + 0.05 * normal(8, 120, 8)
    loud = quiet.copy()
    loud[:, 2:] += 3 * normal(9, 120, 6)
    assert lidar(loud, video) < 0.8 * lidar(quiet, video)
    assert effective_rank(loud) > 0.8 * effective_rank(quiet)
