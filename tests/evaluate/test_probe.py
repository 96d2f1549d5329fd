import numpy as np
import pytest

from evaluate.probe import linear_probe


def blobs(n: int, seed: int, spread: float) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, n)
    centres = np.array([[0, 5, 0, 0], [5, 0, 0, 0], [0, 0, 5, 0]], float)
    return (centres[labels] + spread * rng.normal(size=(n, 4))).astype(np.float32), labels


def groups(n: int) -> list[str]:
    return [f"g{i // 2}" for i in range(n)]


def test_separable_classes_are_separated():
    train, y = blobs(90, 0, 0.5)
    test, y_test = blobs(60, 1, 0.5)
    result = linear_probe(train, y, groups(90), test, y_test)
    assert result["top1"] == 100.0 and result["train_top1"] == 100.0
    assert result["top5"] is None  # of three classes it would say nothing


def test_scale_and_shift_of_a_feature_do_not_matter():
    train, y = blobs(90, 0, 4.0)
    test, y_test = blobs(60, 1, 4.0)
    scale, shift = np.array([1, 100, 0.01, 3], np.float32), np.array([0, 9, 1, -5], np.float32)
    one = linear_probe(train, y, groups(90), test, y_test)
    two = linear_probe(train * scale + shift, y, groups(90), test * scale + shift, y_test)
    assert one["top1"] == pytest.approx(two["top1"], abs=2)
    assert 40 < one["top1"] < 95


def test_every_fit_is_reported():
    train, y = blobs(90, 0, 0.5)
    seen: list[tuple[int, int]] = []
    linear_probe(train, y, groups(90), train, y, lambda *step: seen.append(step[:2]))
    assert seen == [(i, 6) for i in range(1, 7)]


def test_noise_gives_chance():
    rng = np.random.default_rng(0)
    train, test = (rng.normal(size=(n, 8)).astype(np.float32) for n in (200, 600))
    y, y_test = rng.integers(0, 4, 200), rng.integers(0, 4, 600)
    result = linear_probe(train, y, groups(200), test, y_test)
    assert 18 < result["top1"] < 32


def test_the_test_set_does_not_choose_the_penalty():
    train, y = blobs(90, 0, 4.0)
    test, y_test = blobs(60, 1, 4.0)
    wrong = (y_test + 1) % 3
    chosen = {
        linear_probe(train, y, groups(90), test, labels)["penalty"] for labels in (y_test, wrong)
    }
    assert len(chosen) == 1


def test_one_class_and_one_group():
    train = np.ones((4, 3), np.float32)
    result = linear_probe(train, np.zeros(4, int), ["g"] * 4, train, np.array([0, 0, 1, 1]))
    assert result["top1"] == 50.0
