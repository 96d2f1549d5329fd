import numpy as np
import pytest
import torch

from evaluate.errors import EvaluateError
from evaluate.search import duplicates
from evaluate.search.duplicates import DuplicatePair, find_pairs, groups_of, joined_groups, leaks_of
from evaluate.search.search import centre_of, unit_rows
from tests.evaluate.search.test_search import copies
from tests.evaluate.stores import random_store, store_of, video

COUNTS = [3, 1, 7, 2, 5, 4, 1, 1, 9, 2, 6, 3, 3, 8]


def naive(store, threshold, centre):
    rows = unit_rows(store.clip_features, centre).double().numpy()
    own = [rows[store.clip_video == v] for v in range(len(store.names))]
    found = {}
    for a in range(len(own)):
        for b in range(a + 1, len(own)):
            cosines = own[a] @ own[b].T
            forth, back = cosines.max(axis=1).mean(), cosines.max(axis=0).mean()
            few, many = len(own[a]), len(own[b])
            score = max(forth, back) if few == many else forth if few < many else back
            if score >= threshold:
                found[a, b] = score
    return found


@pytest.mark.parametrize("head", [2, 8, 32])  # of 8 numbers: a bound, and all there is
@pytest.mark.parametrize("threshold", [0.6, 0.9])
def test_as_counted_by_hand_block_by_block(tmp_path, monkeypatch, head, threshold):
    monkeypatch.setattr(duplicates, "HEAD", head)
    monkeypatch.setattr(duplicates, "_BLOCK", 7)
    monkeypatch.setattr(duplicates, "_AT_ONCE", 5)
    store = random_store(tmp_path / "x.h5", COUNTS, 8)
    centre = centre_of(store)
    wanted, seen = naive(store, threshold, centre), []
    found = find_pairs(store, threshold, centre, progress=lambda *step: seen.append(step[:2]))
    assert {(p.first, p.second): pytest.approx(p.score, abs=1e-5) for p in found} == wanted
    assert 2 < len(found) < len(COUNTS) * (len(COUNTS) - 1) / 2
    assert [p.score for p in found] == sorted((p.score for p in found), reverse=True)
    assert seen[-1] == (sum(COUNTS), sum(COUNTS))


def test_heads_give_upper_bounds(tmp_path, monkeypatch):
    monkeypatch.setattr(duplicates, "HEAD", 4)
    rows = torch.nn.functional.normalize(torch.randn(60, 16), dim=1)
    heads = duplicates._heads(rows)
    assert heads.shape == (60, 5)
    bounds, cosines = heads @ heads.T, rows @ rows.T
    assert bool((bounds >= cosines - 1e-5).all())
    assert float(bounds.mean()) < 0.9  # and they rule something out


def test_a_part_is_found_in_the_whole_with_its_time(tmp_path):
    rng = np.random.default_rng(0)
    whole = rng.normal(size=(20, 32))
    clips = [rng.normal(size=(4, 32)) for _ in range(10)]
    clips[2], clips[7] = whole, whole[11:15] + 0.01 * rng.normal(size=(4, 32))
    videos = [video(str(i), len(own)) for i, own in enumerate(clips)]
    store = store_of(tmp_path / "x.h5", videos, clips)
    (pair,) = find_pairs(store, 0.95, centre_of(store))
    assert (pair.first, pair.second) == (2, 7)
    first = int(np.flatnonzero(store.clip_video == 2)[0])
    assert pair.first_clips == (first + 11, first + 14)
    assert store.clip_video[list(pair.second_clips)].tolist() == [7, 7]
    assert pair.second_clips[1] - pair.second_clips[0] == 3
    assert pair.score > 0.99


def test_one_clip_in_common_is_not_enough(tmp_path):
    rng = np.random.default_rng(0)
    clips = [rng.normal(size=(4, 32)) for _ in range(10)]
    clips[5][0] = clips[1][2]
    store = store_of(tmp_path / "x.h5", [video(str(i), 4) for i in range(10)], clips)
    assert find_pairs(store, 0.95, centre_of(store)) == []
    assert len(find_pairs(store, 0.3, centre_of(store))) >= 1


def pair(first: int, second: int) -> DuplicatePair:
    return DuplicatePair(1.0, first, second, (0, 0), (0, 0), (1.0, 1.0))


def test_groups_are_what_chains_of_pairs_link():
    found = groups_of([pair(3, 4), pair(0, 9), pair(1, 2), pair(2, 3), pair(7, 9)])
    assert found == {3: 0, 4: 0, 1: 0, 2: 0, 0: 1, 9: 1, 7: 1}
    assert groups_of([pair(1, 2), pair(1, 3), pair(1, 4)]) == {1: 0, 2: 0, 3: 0, 4: 0}
    assert groups_of([]) == {}


def test_groups_that_chains_of_pairs_link_are_joined():
    """Videos that are in no pair go with their group."""
    groups = ["g3", "g3", "b", "a", "c", "c", "d"]
    assert joined_groups(groups, [pair(0, 2), pair(2, 3)]) == ["a"] * 4 + ["c", "c", "d"]
    assert joined_groups(groups, [pair(4, 5)]) == joined_groups(groups, []) == groups
    assert joined_groups(groups, [pair(3, 6), pair(1, 5), pair(2, 4)]) == [*"bbbabb", "a"]


def test_leaks_name_the_split_and_its_parts(tmp_path):
    splits = [{"1": "train", "2": "test"}, {"1": "test", "2": "test"}, {"1": "train"}]
    videos = [video(str(i), 1, splits=own) for i, own in enumerate(splits)]
    store = store_of(tmp_path / "x.h5", videos, [np.ones((1, 3))] * 3)
    assert leaks_of(store, pair(0, 1)) == ["1: train/test"]
    assert leaks_of(store, pair(0, 2)) == []
    assert leaks_of(store, pair(1, 2)) == ["1: test/train"]  # of split 2 the last has no part


def test_too_many_pairs_are_no_duplicates(tmp_path, monkeypatch):
    monkeypatch.setattr(duplicates, "_MANY", 3)
    store = random_store(tmp_path / "x.h5", COUNTS, 8)
    with pytest.raises(EvaluateError, match=r"More than 3 pairs .* cosine of 0\.1: raise the"):
        find_pairs(store, 0.1, centre_of(store))


@pytest.mark.parametrize("noise", [0, 0.01, 0.02])
@pytest.mark.parametrize("kinds", [[12], [12, 1, 1, 1], [30, 30], [40] + [1] * 15])
def test_copies_are_found_where_most_videos_are_copies(tmp_path, kinds, noise):
    """As many as are in it, though the mean of all is nearly the copies."""
    store = copies(tmp_path, kinds, noise)
    centre = centre_of(store)
    found = {(p.first, p.second): p.score for p in find_pairs(store, 0.95, centre)}
    kind = np.repeat(np.arange(len(kinds)), kinds)
    wanted = {(a, b) for b in range(len(kind)) for a in range(b) if kind[a] == kind[b]}
    assert set(found) == wanted
    assert found == pytest.approx(naive(store, 0.95, centre), abs=1e-5)
    if not noise:
        assert set(found.values()) == {1.0}
        assert len(find_pairs(store, 1.0, centre)) == len(wanted)
