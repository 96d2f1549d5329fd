import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from evaluate.errors import EvaluateError
from evaluate.retrieval import cosine, retrieval
from evaluate.retrieval.retrieval import average_precision, centre, recall
from tests.evaluate.retrieval.rankings import full_ranking, galleries


def test_centring():
    rng = np.random.default_rng(8)
    gallery, queries = (rng.normal(9, 1, (n, 5)).astype(np.float32) for n in (40, 30))
    same = centre(gallery, queries, "none")
    assert same[0] is gallery and same[1] is queries
    by_own = centre(gallery, queries, "own mean")
    assert by_own[0].dtype == by_own[1].dtype == np.float32
    assert np.allclose(by_own[0], gallery - gallery.mean(0), atol=1e-5)
    assert np.allclose(by_own[1], queries - queries.mean(0), atol=1e-5)
    by_gallery = centre(gallery, queries, "gallery mean")
    assert np.array_equal(by_gallery[0], by_own[0])
    assert np.allclose(by_gallery[1], queries - gallery.mean(0), atol=1e-5)
    with pytest.raises(EvaluateError, match=r"no centring 'mean'; choose from none, own mean"):
        centre(gallery, queries, "mean")


def test_the_mean_is_a_float64_one():
    gallery = np.full((300_000, 1), 0.1, np.float32)
    assert (centre(gallery, gallery[:2], "own mean")[0] == 0).all()


def test_recall_by_hand():
    neighbours = np.array([[0, 1, 2, 3], [0, 1, 2, 3], [3, 2, 1, 0]])
    result = recall(neighbours, np.array([0, 1, 1, 2]), np.array([0, 1, 0]), 4, ranks=(1, 2, 4, 5))
    shares = {"recall@1": 100 / 3, "recall@2": 200 / 3, "recall@4": 100.0, "recall@5": None}
    assert result == {name: share and pytest.approx(share) for name, share in shares.items()}
    none = np.array([[0, -1], [-1, -1]])  # no neighbour is no hit
    assert set(recall(none, np.array([0, 1]), np.array([1, 1]), 2, (1, 2)).values()) == {0.0}


def test_precision_against_sklearn(monkeypatch):
    """Without equals no exact cosines are needed."""
    rng = np.random.default_rng(0)
    gallery, queries = (rng.normal(size=(n, 24)).astype(np.float32) for n in (3000, 60))
    labels, query_labels = rng.integers(0, 20, 3000), rng.integers(0, 20, 60)
    monkeypatch.setattr(cosine.Cosines, "of_query", lambda *words: pytest.fail("exact cosines"))
    precisions = average_precision(gallery, queries, (labels, query_labels))
    assert precisions.dtype == np.float64
    base, every = (x.astype(np.float64) for x in (gallery, queries))
    cosines = every @ base.T / np.linalg.norm(base, axis=1) / np.linalg.norm(every, axis=1)[:, None]
    usual = [
        average_precision_score(labels == label, row)
        for label, row in zip(query_labels, cosines, strict=True)
    ]
    assert np.allclose(precisions, usual, rtol=0, atol=1e-12)


@settings(deadline=None, max_examples=100)
@given(galleries(), st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_precision_of_any_shape_any_ties(case, classes, seed):
    gallery, queries, groups = case
    rng = np.random.default_rng(seed)
    labels, query_labels = (rng.integers(0, classes, len(rows)) for rows in (gallery, queries))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retrieval, "FLOAT64_SCORES", 100)
        patch.setattr(cosine, "_BLOCK", 100)
        precisions = average_precision(gallery, queries, (labels, query_labels), groups=groups)
    usual = np.full(len(queries), np.nan)  # by definition, on the full ranking
    for q, row in enumerate(full_ranking(gallery, queries, groups)):
        hits = labels[row[row >= 0]] == query_labels[q]
        if hits.any():
            usual[q] = (hits.cumsum() / np.arange(1, len(hits) + 1))[hits].mean()
    assert np.allclose(precisions, usual, rtol=0, atol=1e-12, equal_nan=True)


def test_a_class_that_the_gallery_lacks():
    rows, labels = np.eye(3, dtype=np.float32), np.array([0, 1, 1])
    precisions = average_precision(rows, rows, (labels, np.array([2, 0, 1])))
    assert np.isnan(precisions[0]) and not np.isnan(precisions[1:]).any()
    groups = np.array([4, 5, 6])
    precisions = average_precision(rows, rows, (labels, labels), groups=(groups, groups))
    assert np.isnan(precisions[0]) and (precisions[1:] < 1).all()
    none = rows[:0], labels[:0]
    assert np.isnan(average_precision(none[0], rows, (none[1], labels))).all()


def test_both_ways_of_sorting_agree():
    row = torch.randn(1000, dtype=torch.float64)
    assert np.array_equal(retrieval._sorted(row), torch.sort(row).values.numpy())
