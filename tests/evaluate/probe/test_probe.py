from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from evaluate.errors import EvaluateError
from evaluate.probe import linear
from evaluate.probe.linear import LabelledRows, Sgd, fit_lbfgs
from evaluate.probe.probe import PENALTIES, ProbeSettings, linear_probe
from evaluate.retrieval.cosine import CPU


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
    assert result.top1 == 100.0 and result.train_top1 == 100.0
    assert result.top5 is None  # of three classes it would say nothing


def test_scale_and_shift_of_a_feature_do_not_matter():
    train, y = blobs(90, 0, 4.0)
    test, y_test = blobs(60, 1, 4.0)
    scale, shift = np.array([1, 100, 0.01, 3], np.float32), np.array([0, 9, 1, -5], np.float32)
    one = linear_probe(train, y, groups(90), test, y_test)
    two = linear_probe(train * scale + shift, y, groups(90), test * scale + shift, y_test)
    assert one.top1 == pytest.approx(two.top1, abs=2)
    assert 40 < one.top1 < 95


def test_every_fit_is_reported():
    train, y = blobs(90, 0, 4.0)
    seen: list[tuple[int, int]] = []
    result = linear_probe(train, y, groups(90), train, y, lambda *step: seen.append(step[:2]))
    fits = len(result.tried) + 1
    assert [done for done, _ in seen] == list(range(1, fits + 1))
    assert seen[0] == (1, 6) and seen[-1] == (fits, fits)


def test_noise_gives_chance():
    rng = np.random.default_rng(0)
    train, test = (rng.normal(size=(n, 8)).astype(np.float32) for n in (200, 600))
    y, y_test = rng.integers(0, 4, 200), rng.integers(0, 4, 600)
    result = linear_probe(train, y, groups(200), test, y_test)
    assert 18 < result.top1 < 32


def test_the_test_set_does_not_choose_the_penalty():
    train, y = blobs(90, 0, 4.0)
    test, y_test = blobs(60, 1, 4.0)
    wrong = (y_test + 1) % 3
    chosen = {
        linear_probe(train, y, groups(90), test, labels).penalty for labels in (y_test, wrong)
    }
    assert len(chosen) == 1


def test_one_class_and_one_group():
    train = np.ones((4, 3), np.float32)
    result = linear_probe(train, np.zeros(4, int), ["g"] * 4, train, np.array([0, 0, 1, 1]))
    assert result.top1 == 50.0
    assert result.penalty_from == "default" and result.tried == {}
    assert result.predictions.dtype == np.int64 and result.predictions.tolist() == [0] * 4


@pytest.mark.parametrize("penalty", [1e-4, 1e-2, 1.0])
def test_against_sklearn(penalty, monkeypatch):
    monkeypatch.setattr(linear, "ROWS", 70)  # several blocks
    train, y = blobs(300, 0, 4.0)
    test, _ = blobs(100, 1, 4.0)
    classify = fit_lbfgs(LabelledRows(train, y, CPU), 3, penalty)
    usual = LogisticRegression(C=1 / (2 * penalty * len(y)), tol=1e-10, max_iter=10_000)
    usual.fit(train.astype(np.float64), y)
    scores = classify(torch.from_numpy(test))
    weights = classify(torch.eye(4)) - classify(torch.zeros(4, 4))
    assert torch.softmax(scores, dim=1).numpy() == pytest.approx(
        usual.predict_proba(test.astype(np.float64)), abs=1e-5
    )
    assert weights.T.numpy() == pytest.approx(usual.coef_, abs=1e-4)


def test_blocks_of_rows_change_nothing(monkeypatch):
    train, y = blobs(90, 0, 4.0)
    test, y_test = blobs(60, 1, 4.0)
    whole = linear_probe(train, y, groups(90), test, y_test)
    monkeypatch.setattr("evaluate.probe.probe.ROWS", 17)
    monkeypatch.setattr(linear, "ROWS", 17)
    blocks = linear_probe(train, y, groups(90), test, y_test)
    assert whole.numbers() == blocks.numbers()
    assert np.array_equal(whole.predictions, blocks.predictions)


@pytest.mark.parametrize("solver", ["lbfgs", "sgd"])
def test_twice_the_same(solver):
    train, y = blobs(90, 0, 4.0)
    test, y_test = blobs(60, 1, 4.0)
    settings = ProbeSettings(solver=solver, sgd=Sgd(batch=16, epochs=5))
    one, _, two = (
        linear_probe(train, y, groups(90), test, y_test, settings=settings)
        if call != "between"
        else torch.rand(3)
        for call in ("one", "between", "two")
    )
    assert one.numbers() == two.numbers() and one.tried == two.tried
    assert np.array_equal(one.predictions, two.predictions)


def test_predictions_are_what_top1_counts():
    train, y = blobs(90, 0, 4.0)
    test, y_test = blobs(60, 1, 4.0)
    result = linear_probe(train, y, groups(90), test, y_test)
    assert result.top1 == pytest.approx(100 * (result.predictions == y_test).mean())
    assert result.penalty_from == "held-out groups"
    assert result.numbers()["penalty"] == result.penalty


@pytest.mark.parametrize("penalties", [(10.0, 100.0), (1e-7, 1e-6)])
def test_the_grid_is_widened_at_an_edge(penalties):
    rng = np.random.default_rng(2)
    y = rng.integers(0, 3, 120)
    train = rng.normal(size=(120, 40)).astype(np.float32)
    train[:, :3] += 2 * np.eye(3)[y] * [1.0, 0.3, 0.05]
    settings = ProbeSettings(penalties=penalties)
    result = linear_probe(train, y, groups(120), train, y, settings=settings)
    outside = [p for p in result.tried if not penalties[0] <= p <= penalties[1]]
    assert outside
    assert result.tried[result.penalty] == max(result.tried.values())
    # It stopped where going on no longer helped.
    beyond = result.tried[outside[-1]]
    assert beyond <= result.tried[result.penalty]


def test_inside_the_grid_nothing_is_widened(monkeypatch):
    right = {1e-4: 10.0, 1e-3: 30.0, 1e-2: 30.0, 1e-1: 20.0, 1.0: 5.0, 1e-5: 50.0}
    assert _chosen(monkeypatch, right) == (1e-2, list(PENALTIES))


def test_an_edge_is_left_only_for_what_is_strictly_better(monkeypatch):
    falling = {1e-4: 50.0, 1e-3: 30.0, 1e-2: 30.0, 1e-1: 20.0, 1.0: 5.0}
    same = falling | {1e-5: 50.0}
    assert _chosen(monkeypatch, same) == (1e-4, [*PENALTIES, 1e-5])
    better = falling | {1e-5: 60.0, 1e-6: 70.0, 1e-7: 70.0, 1e-8: 99.0}
    assert _chosen(monkeypatch, better) == (1e-6, [*PENALTIES, 1e-5, 1e-6, 1e-7])
    equal = dict.fromkeys([*PENALTIES, 10.0], 100.0)
    assert _chosen(monkeypatch, equal) == (1.0, [*PENALTIES, 10.0])
    for_ever = {10.0**i: 50.0 - i for i in range(-10, 1)}
    assert _chosen(monkeypatch, for_ever)[0] == 1e-10


def _chosen(monkeypatch, right: dict[float, float]) -> tuple[float, list[float]]:
    """The penalty, and all that were tried, where each is right of so many held-out videos."""
    fitted = []
    monkeypatch.setattr(
        "evaluate.probe.probe.fit_lbfgs",
        lambda data, classes, penalty: fitted.append(penalty) or (lambda x: x.double()),
    )
    share = LabelledRows.share
    monkeypatch.setattr(
        LabelledRows,
        "share",
        lambda self, best: right[fitted[-1]] if best.shape[1] == 1 else share(self, best),
    )
    train, y = blobs(90, 0, 4.0)
    result = linear_probe(train, y, groups(90), train, y)
    return result.penalty, list(result.tried)


def test_sgd_separates_what_is_separable():
    train, y = blobs(90, 0, 0.5)
    test, y_test = blobs(60, 1, 0.5)
    seen: list[tuple[int, int]] = []
    result = linear_probe(
        train,
        y,
        groups(90),
        test,
        y_test,
        lambda *step: seen.append(step[:2]),
        settings=ProbeSettings(solver="sgd", standardise=False),
    )
    assert result.top1 == 100.0 and result.penalty is None and result.penalty_from == ""
    assert seen == [(i, 100) for i in range(1, 101)]


def test_sgd_takes_a_last_batch_of_one_and_falls_in_steps():
    train, y = blobs(33, 0, 0.5)
    rates = []

    class Watched(torch.optim.SGD):
        def step(self, *words):
            rates.append(self.param_groups[0]["lr"])
            return super().step(*words)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim, "SGD", Watched)
        linear_probe(
            train,
            y,
            groups(33),
            train,
            y,
            settings=ProbeSettings(solver="sgd", sgd=Sgd(epochs=10, batch=16)),
        )
    assert rates == pytest.approx([1.0] * 12 + [0.1] * 4 + [0.01] * 4)
    with pytest.raises(EvaluateError, match=r"has 1 training videos.* Leave --probe sgd out \(the"):
        linear_probe(
            train[:1], y[:1], ["g"], train, y, settings=ProbeSettings(solver="sgd", sgd=Sgd())
        )


def test_without_standardising_the_scale_matters():
    train, y = blobs(90, 0, 4.0)
    raw = ProbeSettings(standardise=False, penalties=(1.0,))
    one = linear_probe(train, y, ["g"] * 90, train, y, settings=raw)
    two = linear_probe(train * 1e-3, y, ["g"] * 90, train, y, settings=raw)
    assert one.train_top1 != two.train_top1 or one.top1 != two.top1
    scaled = replace(raw, standardise=True)
    assert (
        linear_probe(train, y, ["g"] * 90, train, y, settings=scaled).train_top1
        == linear_probe(train * 1e-3, y, ["g"] * 90, train, y, settings=scaled).train_top1
    )


@pytest.mark.parametrize("scale", [1e38, 2e38])
def test_scores_that_are_no_numbers_give_no_figure(scale):
    """Batch norm's mean overflows; standardised features are of any size."""
    (x, labels), (other, theirs) = blobs(60, 1, 0.1), blobs(20, 2, 0.1)
    x, other = (np.abs(v) / 6 * np.float32(scale) for v in (x, other))
    parts = (x, labels, groups(60), other, theirs)
    raw = ProbeSettings(standardise=False, solver="sgd")
    with pytest.raises(EvaluateError, match=r"features as large as \d\.\de\+\d\d overflow .*--raw"):
        linear_probe(*parts, settings=raw)
    assert linear_probe(*parts, settings=replace(raw, standardise=True)).top1 == 100.0


def test_settings_that_are_refused():
    with pytest.raises(EvaluateError, match=r"no solver 'adam' .* lbfgs, sgd"):
        ProbeSettings(solver="adam")
    for penalties in ((), (0.1, 0.0)):
        with pytest.raises(EvaluateError, match="Give one or more, all above 0"):
            ProbeSettings(penalties=penalties)
