import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from evaluate.retrieval import knn
from evaluate.retrieval.knn import knn_accuracy, vote
from evaluate.retrieval.nearest import Neighbours


def data(seed: int, n: int, m: int, classes: int):
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(classes, 16))
    labels = rng.integers(0, classes, n), rng.integers(0, classes, m)
    gallery, queries = (
        (centres[numbers] + 1.5 * rng.normal(size=(len(numbers), 16))).astype(np.float32)
        for numbers in labels
    )
    return gallery, queries, labels


def test_against_sklearn(monkeypatch):
    monkeypatch.setattr(knn, "_VOTES", 1000)  # a few queries at a time
    gallery, queries, labels = data(0, 900, 250, 12)
    result = knn_accuracy(gallery, queries, labels)
    assert list(result.accuracy) == ["knn@10", "knn@20", "knn@100", "knn@200"]
    for k in knn.NUMBERS:
        usual = KNeighborsClassifier(
            k, metric="cosine", algorithm="brute", weights=lambda d: np.exp((1 - d) / 0.07)
        ).fit(gallery.astype(np.float64), labels[0])
        predictions = usual.predict(queries.astype(np.float64))
        accuracy = 100 * (predictions == labels[1]).mean()
        assert result.accuracy[f"knn@{k}"] == pytest.approx(accuracy)
        if k == 10:
            assert np.array_equal(result.predictions, predictions)
    assert 20 < result.accuracy["knn@10"] < 100


def test_more_neighbours_than_the_gallery_holds():
    result = knn_accuracy(*data(1, 20, 9, 3))
    assert [percent is None for percent in result.accuracy.values()] == [False, False, True, True]


@pytest.mark.parametrize(
    ("positions", "scores", "labels", "k", "winners"),
    [
        # Near ones count more.
        ([[0, 1, 2], [0, 1, 2]], [[1.0, 0.5, 0.5], [0.6, 0.59, 0.59]], [1, 0, 0], 3, [1, 0]),
        ([[0, 1, 2], [0, 1, 2]], [[1.0, 0.5, 0.5], [0.6, 0.59, 0.59]], [1, 0, 0], 1, [1, 1]),
        # Of equal votes the lowest class.
        ([[0, 1], [1, 0]], [[0.5, 0.5], [0.5, 0.5]], [2, 1], 2, [1, 1]),
    ],
)
def test_votes_by_hand(positions, scores, labels, k, winners):
    neighbours = Neighbours(np.array(positions), np.array(scores, np.float32))
    assert vote(neighbours, np.array(labels), k).tolist() == winners
