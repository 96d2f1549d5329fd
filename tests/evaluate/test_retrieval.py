import numpy as np
import pytest

from evaluate.retrieval import nearest, recall


def test_against_brute_force():
    rng = np.random.default_rng(0)
    gallery, queries = (rng.normal(size=(n, 16)).astype(np.float32) for n in (300, 40))
    found = nearest(gallery, queries, 50)
    assert found.shape == (40, 50)
    for query, row in zip(queries, found, strict=True):
        cosine = gallery @ query / np.linalg.norm(gallery, axis=1) / np.linalg.norm(query)
        assert row.tolist() == np.argsort(-cosine, kind="stable")[:50].tolist()


def test_many_queries_are_taken_in_chunks():
    rng = np.random.default_rng(0)
    gallery = rng.normal(size=(20, 4)).astype(np.float32)
    queries = np.tile(gallery, (120, 1))
    assert nearest(gallery, queries, 1)[:, 0].tolist() == list(range(20)) * 120


def test_of_equals_the_first_in_the_gallery():
    gallery = np.array([[0, 1], [1, 0], [2, 0], [1, 0]], np.float32)
    assert nearest(gallery, np.array([[3, 0]], np.float32), 4).tolist() == [[1, 2, 3, 0]]


def test_recall_by_hand():
    gallery_labels = np.array([0, 1, 1, 2])
    neighbours = np.array([[0, 1, 2, 3], [0, 1, 2, 3], [3, 2, 1, 0]])
    query_labels = np.array([0, 1, 0])
    result = recall(neighbours, gallery_labels, query_labels, 4, ranks=(1, 2, 4, 5))
    assert result["recall@1"] == pytest.approx(100 / 3)
    assert result["recall@2"] == pytest.approx(200 / 3)
    assert result["recall@4"] == 100.0
    assert result["recall@5"] is None
