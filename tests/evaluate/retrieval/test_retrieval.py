import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import NearestNeighbors

from evaluate.errors import EvaluateError
from evaluate.retrieval import cosine, retrieval
from evaluate.retrieval import topk as candidates
from evaluate.retrieval.retrieval import centre, nearest, recall


def brute_force(gallery, queries, k, gallery_groups=None, query_groups=None) -> np.ndarray:
    """The documented order from `pairs` of everything."""
    every = cosine.Cosines(gallery, queries)
    found = np.full((len(queries), min(k, len(gallery))), -1)
    for q in range(len(queries)):
        here = torch.full((len(gallery),), q)
        scores = every.pairs(here, torch.arange(len(gallery))).numpy()
        order = np.argsort(-scores, kind="stable")
        if gallery_groups is not None:
            order = order[gallery_groups[order] != query_groups[q]]
        found[q, : len(order[:k])] = order[:k]
    return found


def cut_small(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(cosine, "GALLERY_BLOCK", 24)
    patch.setattr(cosine, "_PRODUCTS", 64)
    patch.setattr(candidates, "SEGMENT", 4)
    patch.setattr(candidates, "QUERY_BLOCK", 5)
    patch.setattr(candidates, "ROOM", 3)
    patch.setattr(retrieval, "QUERY_BLOCK", 7)
    patch.setattr(retrieval, "FLOAT64_SCORES", 500)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    cut_small(monkeypatch)


def test_against_cosines_by_numpy():
    rng = np.random.default_rng(0)
    gallery, queries = (rng.normal(size=(n, 16)).astype(np.float32) for n in (300, 40))
    found = nearest(gallery, queries, 50)
    assert found.positions.shape == found.scores.shape == (40, 50)
    assert found.positions.dtype == np.int64 and found.scores.dtype == np.float32
    for query, row, scores in zip(queries, found.positions, found.scores, strict=True):
        cosines = gallery @ query / np.linalg.norm(gallery, axis=1) / np.linalg.norm(query)
        assert row.tolist() == np.argsort(-cosines, kind="stable")[:50].tolist()
        assert scores == pytest.approx(cosines[row], abs=1e-6)


def test_against_sklearn():
    rng = np.random.default_rng(1)
    gallery, queries = (rng.normal(size=(n, 64)).astype(np.float32) for n in (9000, 300))
    distances, positions = (
        NearestNeighbors(n_neighbors=50, metric="cosine", algorithm="brute")
        .fit(gallery.astype(np.float64))
        .kneighbors(queries.astype(np.float64))
    )
    found = nearest(gallery, queries, 50)
    assert np.array_equal(found.positions, positions)
    assert np.allclose(found.scores, 1 - distances, rtol=0, atol=1e-7)


@settings(deadline=None, max_examples=150)
@given(
    n=st.integers(1, 130),
    m=st.integers(1, 18),
    channels=st.sampled_from([1, 2, 3, 8, 33]),
    k=st.integers(1, 140),
    kind=st.sampled_from(["random", "few values", "copies", "nearly equal", "rising", "one row"]),
    siblings=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_shape_any_ties(n, m, channels, k, kind, siblings, seed):
    rng = np.random.default_rng(seed)
    gallery, queries = (rng.normal(size=(x, channels)).astype(np.float32) for x in (n, m))
    if kind == "few values":  # rows of zeros among them
        gallery, queries = np.round(gallery), np.round(queries)
    elif kind == "copies":
        gallery = gallery[rng.integers(0, 1 + n // 4, n)]
    elif kind == "nearly equal":
        gallery = (1 + 1e-6 * gallery).astype(np.float32)
    elif kind == "rising":
        gallery = gallery[np.argsort(gallery @ queries[0])]
    elif kind == "one row":
        gallery = np.tile(gallery[:1], (n, 1))
    groups = (rng.integers(0, 6, n), rng.integers(0, 6, m)) if siblings else (None, None)
    with pytest.MonkeyPatch.context() as patch:
        cut_small(patch)
        found = nearest(gallery, queries, k, gallery_groups=groups[0], query_groups=groups[1])
    assert np.array_equal(found.positions, brute_force(gallery, queries, k, *groups))
    assert np.array_equal(np.isnan(found.scores), found.positions == -1)


@pytest.mark.usefixtures("small_blocks")
def test_a_query_of_many_near_ties_is_settled_by_exact_cosines(monkeypatch):
    rng = np.random.default_rng(2)
    gallery = (1 + 1e-6 * rng.normal(size=(400, 32))).astype(np.float32)
    gallery[::3] = gallery[7]
    queries = rng.normal(size=(12, 32)).astype(np.float32)
    settled, whole = [], retrieval._of_row
    monkeypatch.setattr(
        retrieval, "_of_row", lambda *words: settled.append(words[1]) or whole(*words)
    )
    found = nearest(gallery, queries, 20)
    assert settled == list(range(12))
    assert np.array_equal(found.positions, brute_force(gallery, queries, 20))


@pytest.mark.usefixtures("small_blocks")
def test_random_features_need_no_whole_rows(monkeypatch):
    rng = np.random.default_rng(3)
    gallery, queries = (rng.normal(size=(n, 32)).astype(np.float32) for n in (500, 30))
    monkeypatch.setattr(retrieval, "_of_row", lambda *words: pytest.fail("a whole row"))
    assert np.array_equal(
        nearest(gallery, queries, 20).positions, brute_force(gallery, queries, 20)
    )


def test_block_sizes_change_nothing(request):
    rng = np.random.default_rng(4)
    gallery = rng.integers(-2, 3, (700, 6)).astype(np.float32)
    queries = rng.integers(-2, 3, (50, 6)).astype(np.float32)
    whole = nearest(gallery, queries, 30)
    request.getfixturevalue("small_blocks")
    blocks = nearest(gallery, queries, 30)
    assert np.array_equal(whole.positions, blocks.positions)
    assert np.array_equal(whole.scores, blocks.scores)


def test_of_equals_the_first_in_the_gallery():
    gallery = np.array([[0, 1], [1, 0], [2, 0], [1, 0]], np.float32)
    found = nearest(gallery, np.array([[3, 0]], np.float32), 4)
    assert found.positions.tolist() == [[1, 2, 3, 0]]
    assert found.scores.tolist() == [[1, 1, 1, 0]]


def test_a_row_of_zeros_has_the_cosine_0():
    gallery = np.array([[-1, 0], [0, 0], [1, 0]], np.float32)
    found = nearest(gallery, np.array([[3, 0], [0, 0]], np.float32), 3)
    assert found.positions.tolist() == [[2, 1, 0], [0, 1, 2]]
    assert found.scores.tolist() == [[1, 0, -1], [0, 0, 0]]


def test_extreme_lengths():
    gallery = np.array([[1e-40, 0], [3e38, 3e38], [0, 1e-3]], np.float32)
    found = nearest(gallery, np.array([[2e38, 1e38]], np.float32), 3)
    assert found.positions.tolist() == [[1, 0, 2]]


def test_siblings_are_left_out():
    gallery = np.array([[1, 0], [1, 1], [0, 1]], np.float32)
    queries = np.array([[1, 0], [0, 1]], np.float32)
    found = nearest(
        gallery, queries, 3, gallery_groups=np.array([7, 7, 8]), query_groups=np.array([7, 9])
    )
    assert found.positions.tolist() == [[2, -1, -1], [2, 1, 0]]
    assert found.scores[0, 0] == 0 and np.isnan(found.scores[0, 1:]).all()


def test_products_of_lower_precision_are_not_used(monkeypatch):
    rng = np.random.default_rng(5)
    gallery, queries = (rng.normal(size=(n, 64)).astype(np.float32) for n in (4000, 300))
    used = []
    whole = candidates._Table.add
    monkeypatch.setattr(
        candidates._Table,
        "add",
        lambda *words: used.append(torch.get_float32_matmul_precision()) or whole(*words),
    )
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        nearest(gallery, queries, 5)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
    assert set(used) == {"highest"}


def test_no_gallery_and_no_queries():
    some, none = np.ones((3, 2), np.float32), np.ones((0, 2), np.float32)
    assert nearest(none, some, 5).positions.shape == (3, 0)
    assert nearest(some, none, 5).positions.shape == (0, 3)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite(value):
    good, bad = np.ones((9, 4), np.float32), np.ones((9, 4), np.float32)
    bad[3, 2] = bad[5, 0] = value
    with pytest.raises(EvaluateError, match=r"2 of 9 gallery rows hold NaN .* first is row 3\."):
        nearest(bad, good, 1)
    with pytest.raises(EvaluateError, match=r"2 of 9 query rows"):
        nearest(good, bad, 1)


def test_what_does_not_fit_is_refused():
    rows, groups = np.ones((3, 2), np.float32), np.arange(3)
    with pytest.raises(EvaluateError, match=r"\(3, 2\) and the queries have \(3, 1\)"):
        nearest(rows, rows[:, :1], 1)
    with pytest.raises(EvaluateError, match="0 neighbours were asked for"):
        nearest(rows, rows, 0)
    with pytest.raises(EvaluateError, match="for one of gallery and queries only"):
        nearest(rows, rows, 1, gallery_groups=groups)
    with pytest.raises(EvaluateError, match="one group a row"):
        nearest(rows, rows, 1, gallery_groups=groups, query_groups=groups[:2])


def test_the_input_is_left_as_it_was_and_may_be_read_only():
    rng = np.random.default_rng(6)
    gallery, queries = (rng.normal(size=(n, 5)).astype(np.float32) for n in (40, 4))
    copies = gallery.copy(), queries.copy()
    gallery.flags.writeable = queries.flags.writeable = False
    nearest(gallery, queries, 3)
    assert np.array_equal(gallery, copies[0]) and np.array_equal(queries, copies[1])


def test_progress_reaches_the_whole_gallery():
    seen = []
    rows = np.random.default_rng(7).normal(size=(5000, 3)).astype(np.float32)
    nearest(rows, rows[:3], 2, progress=lambda done, total, text: seen.append((done, total)))
    assert seen == [*((done, 5000) for done in range(1024, 5000, 1024)), (5000, 5000)]


def test_centring():
    rng = np.random.default_rng(8)
    gallery, queries = (rng.normal(9, 1, (n, 5)).astype(np.float32) for n in (40, 30))
    same = centre(gallery, queries, "none")
    assert same[0] is gallery and same[1] is queries
    own = centre(gallery, queries, "own mean")
    assert own[0].dtype == own[1].dtype == np.float32
    assert np.allclose(own[0], gallery - gallery.mean(0), atol=1e-5)
    assert np.allclose(own[1], queries - queries.mean(0), atol=1e-5)
    by_gallery = centre(gallery, queries, "gallery mean")
    assert np.array_equal(by_gallery[0], own[0])
    assert np.allclose(by_gallery[1], queries - gallery.mean(0), atol=1e-5)
    with pytest.raises(EvaluateError, match=r"no centring 'mean'; there are none, own mean"):
        centre(gallery, queries, "mean")


def test_the_mean_is_a_float64_one():
    gallery = np.full((300_000, 1), 0.1, np.float32)
    assert (centre(gallery, gallery[:2], "own mean")[0] == 0).all()


def test_recall_by_hand():
    gallery_labels = np.array([0, 1, 1, 2])
    neighbours = np.array([[0, 1, 2, 3], [0, 1, 2, 3], [3, 2, 1, 0]])
    query_labels = np.array([0, 1, 0])
    result = recall(neighbours, gallery_labels, query_labels, 4, ranks=(1, 2, 4, 5))
    assert result["recall@1"] == pytest.approx(100 / 3)
    assert result["recall@2"] == pytest.approx(200 / 3)
    assert result["recall@4"] == 100.0
    assert result["recall@5"] is None


def test_no_neighbour_is_no_hit():
    neighbours = np.array([[0, -1], [-1, -1]])
    assert recall(neighbours, np.array([0, 1]), np.array([1, 1]), 2, ranks=(1, 2)) == {
        "recall@1": 0.0,
        "recall@2": 0.0,
    }
