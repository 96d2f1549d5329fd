from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import NearestNeighbors

from evaluate.errors import EvaluateError
from evaluate.retrieval import cosine, largest
from evaluate.retrieval import nearest as module
from evaluate.retrieval.largest import Largest
from evaluate.retrieval.nearest import nearest
from tests.evaluate.retrieval.rankings import full_ranking, galleries


def normal(seed: int, n: int, m: int, channels: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    gallery, queries = (rng.normal(size=(x, channels)).astype(np.float32) for x in (n, m))
    return gallery, queries


def cut_small(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(cosine, "_BLOCK", 200)
    patch.setattr(cosine, "_PRODUCTS", 64)
    patch.setattr(largest, "SEGMENT", 4)
    patch.setattr(module, "QUERY_BLOCK", 7)
    patch.setattr(module, "FLOAT64_SCORES", 500)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    cut_small(monkeypatch)


def test_against_sklearn():
    gallery, queries = normal(1, 9000, 300, 64)
    distances, positions = (
        NearestNeighbors(n_neighbors=50, metric="cosine", algorithm="brute")
        .fit(gallery.astype(np.float64))
        .kneighbors(queries.astype(np.float64))
    )
    found = nearest(gallery, queries, 50)
    assert found.positions.dtype == np.int64 and found.scores.dtype == np.float32
    assert np.array_equal(found.positions, positions)
    assert np.allclose(found.scores, 1 - distances, rtol=0, atol=1e-7)


@settings(deadline=None, max_examples=150)
@given(galleries(), st.integers(1, 140))
def test_any_shape_any_ties(case, k):
    gallery, queries, groups = case
    with pytest.MonkeyPatch.context() as patch:
        cut_small(patch)
        found = nearest(gallery, queries, k, groups=groups)
    assert np.array_equal(found.positions, full_ranking(gallery, queries, groups)[:, :k])
    assert np.array_equal(np.isnan(found.scores), found.positions == -1)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("are_near", [True, False])
def test_whole_rows_are_looked_at_where_many_are_nearly_tied(monkeypatch, are_near):
    gallery, queries = normal(2, 400, 12, 32)
    if are_near:
        gallery = (1 + 1e-6 * gallery).astype(np.float32)
        gallery[::3] = gallery[7]
    settled, of_row = [], module._of_row
    monkeypatch.setattr(
        module, "_of_row", lambda *words: settled.append(words[1]) or of_row(*words)
    )
    positions = nearest(gallery, queries, 20).positions
    assert settled == (list(range(12)) if are_near else [])
    assert np.array_equal(positions, full_ranking(gallery, queries)[:, :20])


def test_block_sizes_change_nothing(request):
    rng = np.random.default_rng(4)
    gallery = rng.integers(-2, 3, (700, 6)).astype(np.float32)
    queries = rng.integers(-2, 3, (50, 6)).astype(np.float32)
    whole = nearest(gallery, queries, 30)
    request.getfixturevalue("small_blocks")
    blocks = nearest(gallery, queries, 30)
    assert np.array_equal(whole.positions, blocks.positions)
    assert np.array_equal(whole.scores, blocks.scores)


@pytest.mark.parametrize(
    ("gallery", "queries", "positions", "scores"),
    [
        # Of equals the first one in the gallery.
        ([[0, 1], [1, 0], [2, 0], [1, 0]], [[3, 0]], [[1, 2, 3, 0]], [[1, 1, 1, 0]]),
        # A row of zeros has the cosine 0.
        (
            [[-1, 0], [0, 0], [1, 0]],
            [[3, 0], [0, 0]],
            [[2, 1, 0], [0, 1, 2]],
            [[1, 0, -1], [0] * 3],
        ),
        # No length is too small or too large.
        (
            [[1e-40, 0], [3e38, 3e38], [0, 1e-3]],
            [[2e38, 1e38]],
            [[1, 0, 2]],
            [[3 / 10**0.5, 2 / 5**0.5, 1 / 5**0.5]],
        ),
    ],
)
def test_by_hand(gallery, queries, positions, scores):
    found = nearest(np.array(gallery, np.float32), np.array(queries, np.float32), 4)
    assert found.positions.tolist() == positions
    assert found.scores == pytest.approx(np.array(scores))


def test_siblings_are_left_out():
    gallery = np.array([[1, 0], [1, 1], [0, 1]], np.float32)
    queries = np.array([[1, 0], [0, 1]], np.float32)
    found = nearest(gallery, queries, 3, groups=(np.array([7, 7, 8]), np.array([7, 9])))
    assert found.positions.tolist() == [[2, -1, -1], [2, 1, 0]]
    assert found.scores[0, 0] == 0 and np.isnan(found.scores[0, 1:]).all()


@pytest.mark.parametrize("threads", [2, 3])
def test_any_number_of_threads_finds_the_same_and_is_left_as_it_was(threads):
    gallery, queries = normal(8, 9000, 50, 16)
    alone = nearest(gallery, queries, 40)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        side_by_side = nearest(gallery, queries, 40)
        assert torch.get_num_threads() == threads
        in_a_new_thread = ThreadPoolExecutor(1).submit(torch.get_num_threads)
        assert in_a_new_thread.result() == threads
    finally:
        torch.set_num_threads(before)
    assert np.array_equal(side_by_side.positions, alone.positions)
    assert np.array_equal(side_by_side.scores, alone.scores)


def test_an_error_on_one_of_several_cores_is_raised(monkeypatch):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    monkeypatch.setattr(Largest, "add", lambda *words: 1 / 0)
    try:
        with pytest.raises(ZeroDivisionError):
            nearest(*normal(9, 50, 20, 4), 5)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_products_of_lower_precision_are_not_used(monkeypatch):
    used, add = [], Largest.add
    monkeypatch.setattr(
        Largest,
        "add",
        lambda *words: used.append(torch.get_float32_matmul_precision()) or add(*words),
    )
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        nearest(*normal(5, 400, 30, 64), 5)
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
    with pytest.raises(EvaluateError, match=r"2 of 9 gallery rows have NaN .* first is row 3\."):
        nearest(bad, good, 1)
    with pytest.raises(EvaluateError, match=r"2 of 9 query rows"):
        nearest(good, bad, 1)


def test_what_does_not_fit_is_refused():
    rows, numbers = np.ones((3, 2), np.float32), np.arange(3)
    with pytest.raises(EvaluateError, match=r"\(3, 2\) and the queries have \(3, 1\)"):
        nearest(rows, rows[:, :1], 1)
    with pytest.raises(EvaluateError, match="The number of neighbours is 0"):
        nearest(rows, rows, 0)
    with pytest.raises(EvaluateError, match="one group per row"):
        nearest(rows, rows, 1, groups=(numbers, numbers[:2]))


def test_the_input_is_left_as_it_was_and_may_be_read_only():
    gallery, queries = normal(6, 40, 4, 5)
    copies = gallery.copy(), queries.copy()
    gallery.flags.writeable = queries.flags.writeable = False
    nearest(gallery, queries, 3)
    assert np.array_equal(gallery, copies[0]) and np.array_equal(queries, copies[1])


def test_progress_reaches_the_whole_gallery(small_blocks):
    seen = []
    gallery, queries = normal(7, 150, 3, 3)
    nearest(gallery, queries, 2, progress=lambda done, total, text: seen.append((done, total)))
    assert seen == [(64, 150), (128, 150), (150, 150)]
