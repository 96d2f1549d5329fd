import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from evaluate.retrieval import knn
from evaluate.retrieval.knn import knn_accuracy, vote
from evaluate.retrieval.retrieval import Neighbours


def data(seed: int, n: int, m: int, classes: int):
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(classes, 16))
    labels, query_labels = rng.integers(0, classes, n), rng.integers(0, classes, m)
    gallery, queries = (
        (centres[own] + 1.5 * rng.normal(size=(len(own), 16))).astype(np.float32)
        for own in (labels, query_labels)
    )
    return gallery, queries, labels, query_labels


def test_against_sklearn(monkeypatch):
    monkeypatch.setattr(knn, "_VOTES", 1000)  # a few queries at a time
    gallery, queries, labels, query_labels = data(0, 900, 250, 12)
    found = knn_accuracy(gallery, queries, labels, query_labels)
    assert list(found.accuracy) == ["knn@10", "knn@20", "knn@100", "knn@200"]
    for k in knn.NUMBERS:
        usual = KNeighborsClassifier(
            k, metric="cosine", algorithm="brute", weights=lambda d: np.exp((1 - d) / 0.07)
        ).fit(gallery.astype(np.float64), labels)
        predictions = usual.predict(queries.astype(np.float64))
        assert found.accuracy[f"knn@{k}"] == pytest.approx(
            100 * (predictions == query_labels).mean()
        )
        if k == 10:
            assert np.array_equal(found.predictions, predictions)
    assert 20 < found.accuracy["knn@10"] < 100


def test_more_neighbours_than_the_gallery_holds():
    gallery, queries, labels, query_labels = data(1, 30, 9, 3)
    found = knn_accuracy(gallery, queries, labels, query_labels, numbers=(30, 31))
    assert found.accuracy["knn@30"] is not None and found.accuracy["knn@31"] is None


def neighbours(positions, scores) -> Neighbours:
    return Neighbours(np.array(positions), np.array(scores, np.float32))


def test_near_ones_count_more():
    found = neighbours([[0, 1, 2], [0, 1, 2]], [[1.0, 0.5, 0.5], [0.6, 0.59, 0.59]])
    labels = np.array([1, 0, 0])
    assert vote(found, labels, 3, 2, 0.07).tolist() == [1, 0]
    assert vote(found, labels, 1, 2, 0.07).tolist() == [1, 1]


def test_of_equal_votes_the_lowest_class():
    found = neighbours([[0, 1], [1, 0]], [[0.5, 0.5], [0.5, 0.5]])
    assert vote(found, np.array([2, 1]), 2, 3, 0.07).tolist() == [1, 1]


def test_no_temperature_overflows():
    found = neighbours([[0, 1]], [[0.9, 0.8]])
    with np.errstate(over="raise"):
        assert vote(found, np.array([1, 0]), 2, 2, 1e-5).tolist() == [1]


def test_siblings_have_no_vote():
    gallery = np.array([[1, 0], [1, 0.1], [0, 1]], np.float32)
    groups = np.array([5, 5, 6])
    found = knn_accuracy(
        gallery,
        np.array([[1, 0], [1, 0]], np.float32),
        np.array([0, 0, 1]),
        np.array([0, 0]),
        numbers=(2,),
        gallery_groups=groups,
        query_groups=np.array([5, 7]),
    )
    assert found.predictions.tolist() == [1, 0]
    assert found.accuracy == {"knn@2": 50.0}


def test_a_query_without_neighbours_has_no_class():
    rows = np.eye(2, dtype=np.float32)
    one = np.zeros(2, int)
    found = knn_accuracy(rows, rows, one, one, numbers=(1,), gallery_groups=one, query_groups=one)
    assert found.predictions.tolist() == [-1, -1] and found.accuracy == {"knn@1": 0.0}
