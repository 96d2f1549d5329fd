"""Planted diagonals: the second video plays a part of the first one, at one speed or another."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from evaluate.search import alignment
from evaluate.search.alignment import Rules, Sequenced, align, nearest_clips

STEP = 0.5
RULES = Rules(step=STEP, threshold=0.6, shortest=2.0, level=0.35, drop=0.8)


def film(seed: int, seconds: float = 40.0) -> np.ndarray:
    """float64, seconds x 128: what is shown at each second; in between it changes evenly."""
    return np.random.default_rng(seed).normal(size=(int(seconds) + 2, 128))


def seen(shown: np.ndarray, moments: np.ndarray) -> np.ndarray:
    return np.stack([np.interp(moments, np.arange(len(shown)), column) for column in shown.T], 1)


def clips(features: np.ndarray, times: np.ndarray) -> Sequenced:
    rows = torch.nn.functional.normalize(torch.from_numpy(features).float(), dim=1)
    return Sequenced(rows, times)


def planted(speed: float, begin: float, lasts: float, at: float) -> tuple[Sequenced, Sequenced]:
    """Two videos of 40 s; the second shows `lasts` seconds of the first one, from `begin` on,
    `speed` times as fast from second `at` on."""
    times = np.arange(0, 40, STEP)
    first, own = film(0), film(1)
    moment = begin + speed * (times - at)
    is_shared = (times >= at) & (moment <= begin + lasts)
    second = np.where(is_shared[:, None], seen(first, moment.clip(0, 40)), seen(own, times))
    return clips(seen(first, times), times), clips(second, times)


@pytest.mark.parametrize("speed", [0.8, 0.87, 0.9, 1.0, 1.04, 1.1, 1.25])
def test_a_part_is_found_with_its_limits_and_its_speed(speed):
    first, second = planted(speed, begin=12.0, lasts=8.0, at=23.0)
    (run,) = align(first, second, RULES)
    assert first.times[list(run.first)] == pytest.approx([12, 20], abs=2 * STEP)
    assert second.times[list(run.second)] == pytest.approx([23, 23 + 8 / speed], abs=2 * STEP)
    assert run.speed == pytest.approx(speed, abs=0.11)
    assert run.similarity > 0.65


def test_numbers_of_a_part_on_the_grid():
    """Where no two other clips are alike, nothing is taken from a cosine of 1."""
    times, clip = np.arange(0, 40, STEP), np.eye(160)
    first, second = clips(clip[:80], times), clips(clip[80:], times)
    second.rows[46:63] = first.rows[24:41]
    (run,) = align(first, second, RULES)
    assert (run.first, run.second, run.speed) == ((24, 40), (46, 62), 1.0)
    assert run.similarity == pytest.approx(1) and run.score == pytest.approx(17 * 0.65)


@pytest.mark.parametrize("block", [1, 7])
def test_tables_are_held_a_few_rows_at_a_time(monkeypatch, block):
    first, second = planted(1.1, begin=3.0, lasts=10.0, at=0.0)
    whole = align(first, second, RULES)
    monkeypatch.setattr(alignment, "BLOCK", block)
    same = align(first, second, RULES)
    assert [(run.first, run.second, run.speed) for run in same] == [
        (run.first, run.second, run.speed) for run in whole
    ]
    assert [run.score for run in same] == pytest.approx([run.score for run in whole])


def test_the_other_way_round_the_speed_is_the_inverse():
    first, second = planted(1.25, begin=12.0, lasts=10.0, at=23.0)
    (forth,), (back,) = align(first, second, RULES), align(second, first, RULES)
    assert (forth.speed, back.speed) == (1.25, 0.8)
    assert back.first == pytest.approx(forth.second, abs=2)
    assert back.second == pytest.approx(forth.first, abs=2)


def test_two_parts_with_a_cut_between_them_are_two():
    first, _ = planted(1.0, 0, 0, 0)
    order = [*range(20, 36), *range(50, 64)]  # of the first video's clips
    second = Sequenced(first.rows[order], STEP * np.arange(len(order)))
    one, two = sorted(align(first, second, RULES), key=lambda run: run.first)
    assert (one.first, one.second) == ((20, 35), (0, 15))
    assert (two.first, two.second) == ((50, 63), (16, 29))


def test_a_few_clips_that_differ_do_not_end_a_part():
    first, second = planted(1.0, begin=10.0, lasts=20.0, at=5.0)
    second.rows[29:32] *= -1  # three times a drop of some 1.5
    assert len(align(first, second, replace(RULES, drop=6))) == 1
    assert len(align(first, second, RULES)) == 2


@pytest.mark.parametrize("lasts, found", [(1.5, 0), (2.0, 1)])
def test_what_is_shorter_is_no_part(lasts, found):
    first, second = planted(1.0, begin=12.0, lasts=lasts, at=23.0)
    assert len(align(first, second, RULES)) == found


def test_a_still_that_both_show_is_at_most_one_part():
    """Of a still, all clips are alike, so half of the likeness counts."""
    first, second = planted(1.0, 0, 0, 0)
    first.rows[10:30] = second.rows[40:60] = first.rows[10]
    (run,) = align(first, second, replace(RULES, threshold=0.45))
    assert (run.first, run.second) == ((10, 29), (40, 59))
    assert run.similarity == pytest.approx(0.5, abs=0.01)
    assert align(first, second, RULES) == []


def test_a_moment_of_a_video_is_one_moment_of_the_other():
    """The trailer is shown twice in the second video, the second time with another clip."""
    first, second = planted(1.0, begin=12.0, lasts=8.0, at=23.0)
    second.rows[4:21] = first.rows[24:41]
    second.rows[12] = second.rows[70]
    (run,) = align(first, second, RULES)
    assert (run.first, run.second) == ((24, 40), (46, 62))


def test_unrelated_videos_share_nothing():
    times = np.arange(0, 40, STEP)
    videos = [clips(seen(film(seed), times), times) for seed in range(8)]
    assert not [
        align(a, b, RULES) for a in videos for b in videos if a is not b and align(a, b, RULES)
    ]


def test_of_clips_far_apart_the_nearest_counts():
    """Not the least similar: WIDTH is less than half of their distance."""
    step = 4 * alignment.WIDTH
    one = clips(film(0)[:6], np.arange(6) * step)
    assert alignment._usual(one, one, step).tolist() == pytest.approx([0.5] * 6, abs=1e-6)


def test_clips_nearest_in_time():
    times = np.array([0.0, 0.5, 1.1, 1.4, 3.0])
    assert nearest_clips(times, 0.5).tolist() == [0, 1, 2, 3, 3, 4, 4]
    assert nearest_clips(times[:1], 0.5).tolist() == [0]


def test_a_video_with_one_clip_shares_no_part():
    first, second = planted(1.0, 12.0, 8.0, 23.0)
    lone = Sequenced(second.rows[50:51], second.times[50:51])
    assert align(first, lone, RULES) == [] == align(lone, first, RULES)
