import numpy as np
import pytest

from evaluate.errors import EvaluateError
from evaluate.search import search as searching
from evaluate.search.search import FEWEST, centre_of, different_videos, search, span_text, time_code
from tests.evaluate.stores import random_store, store_of, video

COUNTS = [3, 1, 7, 2, 5, 4, 1, 1, 9, 2, 6, 3]


def naive(store, query, centre):
    """(cosine, video, clip, query clip) of every video's best pair, best first."""
    best = {}
    for c, row in enumerate(store.clip_features.astype(np.float64) - centre):
        for q, own in enumerate(query.astype(np.float64) - centre):
            cosine = row @ own / np.linalg.norm(row) / np.linalg.norm(own)
            v = int(store.clip_video[c])
            if v not in best or cosine > best[v][0]:
                best[v] = (cosine, v, c, q)
    return sorted(best.values(), key=lambda found: -found[0])


@pytest.mark.parametrize("centring", ["gallery mean", "none"])
def test_as_counted_by_hand_a_few_rows_at_a_time(tmp_path, monkeypatch, centring):
    monkeypatch.setattr(searching, "_ROWS", 5)
    store = random_store(tmp_path / "x.h5", COUNTS, 6)
    query = np.abs(np.random.default_rng(1).normal(size=(3, 6))).astype(np.float32)
    centre = centre_of(store, centring)
    wanted = naive(store, query, centre)
    found = search(store, query, 12, centre)
    assert [(m.video, m.clip, m.query_clip) for m in found] == [tuple(w[1:]) for w in wanted]
    assert np.allclose([m.cosine for m in found], [w[0] for w in wanted], atol=2e-6)
    assert search(store, query, 4, centre) == found[:4]
    assert search(store, query, 1000, centre) == found


def test_of_equals_the_first_video_and_the_first_clip(tmp_path):
    same = np.ones((3, 4), np.float32)
    other = np.eye(4, dtype=np.float32)[:2]
    videos = [video("a", 2), video("b", 3), video("c", 3)]
    store = store_of(tmp_path / "x.h5", videos, [other, same, same])
    found = search(store, same[:2], 3, centre_of(store, "none"))
    assert [(m.video, m.clip, m.query_clip) for m in found] == [(1, 2, 0), (2, 5, 0), (0, 0, 0)]


def test_rounding_does_not_choose_among_equals(tmp_path):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(1, 256)).astype(np.float32) * np.linspace(0.1, 9, 60)[:, None]
    store = store_of(tmp_path / "x.h5", [video("a", 60)], [rows])
    (match,) = search(store, rows.astype(np.float32)[::-1].copy(), 1, centre_of(store, "none"))
    assert (match.cosine, match.clip, match.query_clip) == (1.0, 0, 0)


def test_the_centre_counts_every_video_the_same(tmp_path):
    counts = [1] * (FEWEST - 1) + [50]
    clips = [np.full((n, 1), float(n)) * np.eye(FEWEST)[i] for i, n in enumerate(counts)]
    store = store_of(tmp_path / "x.h5", [video(str(i), n) for i, n in enumerate(counts)], clips)
    assert np.allclose(centre_of(store), np.array(counts) / FEWEST)
    assert not centre_of(store, "none").any()
    few = store_of(tmp_path / "few.h5", [video("a", 1)] * (FEWEST - 1), clips[: FEWEST - 1])
    assert not centre_of(few).any()
    with pytest.raises(EvaluateError, match="centring is 'mine'; it takes gallery mean, none"):
        centre_of(store, "mine")


def test_equal_features_have_the_cosine_1_whatever_the_centre(tmp_path):
    rng = np.random.default_rng(0)
    clips = [abs(rng.normal(size=(1, 3))) for _ in range(FEWEST)]
    clips[3] = clips[7] = np.zeros((1, 3))
    store = store_of(tmp_path / "x.h5", [video("a", 1)] * FEWEST, clips)
    for centre in (centre_of(store), centre_of(store, "none"), store.clip_features[4]):
        for number in (3, 4, 5):
            best = search(store, store.clip_features[[number]], 2, centre)
            assert best[0].cosine == 1 and best[0].video == number
            assert (best[1].cosine == 1) == (number == 3)


def copies(tmp_path, kinds, noise=0.0, channels=64):
    """A store of one-clip videos: of each kind so many that are alike."""
    rng = np.random.default_rng(0)
    clips = []
    for count in kinds:
        one = abs(rng.normal(size=(1, channels)))
        clips += [one * (1 + noise * rng.normal(size=(1, channels))) for _ in range(count)]
    return store_of(tmp_path / "x.h5", [video(str(i), 1) for i in range(len(clips))], clips)


@pytest.mark.parametrize("noise", [0, 0.02])
@pytest.mark.parametrize(
    "kinds, different", [([12], 1), ([12, 1, 1, 1], 4), ([30, 30], 2), ([40] + [1] * 15, 16)]
)
def test_of_copies_the_mean_takes_one(tmp_path, kinds, different, noise):
    store = copies(tmp_path, kinds, noise)
    assert different_videos(store) == different
    centre = centre_of(store)
    assert centre.any() == (different >= FEWEST)
    if different >= FEWEST:
        others = [store.features[: kinds[0]].mean(axis=0), *store.features[kinds[0] :]]
        assert np.allclose(centre, np.mean(others, axis=0), rtol=1e-4)
    (best,) = search(store, store.clip_features[[5]], 1, centre)
    assert best.cosine == 1 and (best.video == 5 or not noise)


@pytest.mark.parametrize("kinds", [[1] * 12, [2] * 6 + [1] * 6, [4] + [1] * 12])
def test_where_copies_are_few_the_mean_is_that_of_all(tmp_path, kinds):
    store = copies(tmp_path, kinds)
    assert different_videos(store) == sum(kinds)
    assert np.array_equal(centre_of(store), store.features.mean(axis=0, dtype="f8").astype("f4"))


def test_what_cannot_be_compared(tmp_path):
    store = random_store(tmp_path / "x.h5", COUNTS, 6)
    with pytest.raises(EvaluateError, match=r"features with 6 channels, and the query's have 5"):
        search(store, np.ones((1, 5), np.float32), 3, centre_of(store))
    with pytest.raises(EvaluateError, match="The query has features that are NaN or infinite"):
        search(store, np.full((1, 6), np.nan, np.float32), 3, centre_of(store))


def test_time_codes(tmp_path):
    assert time_code(0) == "00:00.0"
    assert time_code(59.96) == "01:00.0"
    assert time_code(3725.04) == "62:05.0"
    videos = [video("a", 3), video("b", 2, fps=None)]
    store = store_of(tmp_path / "x.h5", videos, [np.ones((3, 2)), np.ones((2, 2))])
    assert span_text(store, 1) == "00:01.0-00:01.6"
    assert span_text(store, 0, 2) == "00:00.0-00:02.6"
    assert span_text(store, 3, 4) == "frames 0-40"
