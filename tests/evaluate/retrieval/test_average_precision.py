import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from evaluate.errors import EvaluateError
from evaluate.retrieval import average_precision as precision
from evaluate.retrieval import cosine
from evaluate.retrieval.average_precision import average_precision
from evaluate.retrieval.retrieval import nearest


def test_against_sklearn():
    rng = np.random.default_rng(0)
    gallery, queries = (rng.normal(size=(n, 24)).astype(np.float32) for n in (3000, 60))
    labels, query_labels = rng.integers(0, 20, 3000), rng.integers(0, 20, 60)
    found = average_precision(gallery, queries, labels, query_labels)
    assert found.dtype == np.float64
    base, every = (x.astype(np.float64) for x in (gallery, queries))
    cosines = every @ base.T / np.linalg.norm(base, axis=1) / np.linalg.norm(every, axis=1)[:, None]
    usual = [
        average_precision_score(labels == label, row)
        for label, row in zip(query_labels, cosines, strict=True)
    ]
    assert np.allclose(found, usual, rtol=0, atol=1e-12)


def by_ranking(gallery, queries, labels, query_labels, groups) -> np.ndarray:
    """The definition, on the full ranking that `nearest` gives."""
    ranking = nearest(
        gallery, queries, len(gallery), gallery_groups=groups[0], query_groups=groups[1]
    ).positions
    found = np.full(len(queries), np.nan)
    for q, row in enumerate(ranking):
        hits = labels[row[row >= 0]] == query_labels[q]
        if hits.any():
            found[q] = (hits.cumsum() / np.arange(1, len(hits) + 1))[hits].mean()
    return found


@settings(deadline=None, max_examples=100)
@given(
    n=st.integers(1, 60),
    m=st.integers(1, 9),
    channels=st.sampled_from([1, 2, 5]),
    classes=st.integers(1, 5),
    kind=st.sampled_from(["random", "few values", "copies", "nearly equal"]),
    siblings=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_shape_any_ties(n, m, channels, classes, kind, siblings, seed):
    rng = np.random.default_rng(seed)
    gallery, queries = (rng.normal(size=(x, channels)).astype(np.float32) for x in (n, m))
    if kind == "few values":
        gallery, queries = np.round(gallery), np.round(queries)
    elif kind == "copies":
        gallery = gallery[rng.integers(0, 1 + n // 4, n)]
    elif kind == "nearly equal":
        gallery = (1 + 1e-7 * gallery).astype(np.float32)
    labels, query_labels = rng.integers(0, classes, n), rng.integers(0, classes, m)
    groups = (rng.integers(0, 6, n), rng.integers(0, 6, m)) if siblings else (None, None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(precision, "FLOAT64_SCORES", 100)
        patch.setattr(cosine, "GALLERY_BLOCK", 13)
        found = average_precision(
            gallery,
            queries,
            labels,
            query_labels,
            gallery_groups=groups[0],
            query_groups=groups[1],
        )
    usual = by_ranking(gallery, queries, labels, query_labels, groups)
    assert np.allclose(found, usual, rtol=0, atol=1e-12, equal_nan=True)


def test_of_equals_the_first_in_the_gallery():
    gallery, query = np.ones((4, 3), np.float32), np.ones((1, 3), np.float32)
    for labels, expected in (([1, 0, 0, 0], 1), ([0, 0, 0, 1], 1 / 4), ([0, 1, 0, 1], 1 / 2)):
        assert average_precision(gallery, query, np.array(labels), np.array([1])) == [expected]


def test_without_equals_no_exact_cosines_are_needed(monkeypatch):
    rng = np.random.default_rng(1)
    gallery, queries = (rng.normal(size=(n, 8)).astype(np.float32) for n in (400, 5))
    labels = rng.integers(0, 4, 400)
    monkeypatch.setattr(cosine.Cosines, "of_query", lambda *words: pytest.fail("exact cosines"))
    assert not np.isnan(average_precision(gallery, queries, labels, labels[:5])).any()


def test_a_class_that_the_gallery_lacks():
    rows = np.eye(3, dtype=np.float32)
    found = average_precision(rows, rows, np.array([0, 1, 1]), np.array([2, 0, 1]))
    assert np.isnan(found[0]) and not np.isnan(found[1:]).any()
    found = average_precision(
        rows,
        rows,
        np.array([0, 1, 1]),
        np.array([0, 1, 1]),
        gallery_groups=np.array([4, 5, 6]),
        query_groups=np.array([4, 5, 6]),
    )
    assert np.isnan(found[0]) and (found[1:] < 1).all()


def test_no_gallery():
    none, rows = np.ones((0, 3), np.float32), np.ones((2, 3), np.float32)
    assert np.isnan(average_precision(none, rows, np.zeros(0, int), np.zeros(2, int))).all()


def test_values_that_are_not_finite():
    rows = np.ones((2, 3), np.float32)
    with pytest.raises(EvaluateError, match="1 of 2 gallery rows hold NaN"):
        average_precision(rows * [[1], [np.nan]], rows, np.zeros(2, int), np.zeros(2, int))


def test_both_ways_of_sorting_agree():
    row = torch.randn(1000, dtype=torch.float64)
    assert torch.equal(precision._sorted(row), torch.sort(row).values)
