from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from evaluate.errors import EvaluateError
from evaluate.probe import linear
from evaluate.probe.linear import LabelledRows, Sgd, fit_lbfgs
from evaluate.probe.probe import PENALTIES, LabelledFeatures, ProbeSettings, linear_probe
from evaluate.retrieval.cosine import CPU


def blobs(n: int, seed: int, spread: float) -> LabelledFeatures:
    """Of three classes; two videos of every group."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, n)
    centres = np.array([[0, 5, 0, 0], [5, 0, 0, 0], [0, 0, 5, 0]], float)
    rows = (centres[labels] + spread * rng.normal(size=(n, 4))).astype(np.float32)
    return LabelledFeatures(rows, labels, [i // 2 for i in range(n)])


@pytest.fixture
def easy() -> tuple[LabelledFeatures, LabelledFeatures]:
    """Train and test part, of classes that can be separated."""
    return blobs(90, 0, 0.5), blobs(60, 1, 0.5)


@pytest.fixture
def hard() -> tuple[LabelledFeatures, LabelledFeatures]:
    """Train and test part, of classes that overlap."""
    return blobs(90, 0, 4.0), blobs(60, 1, 4.0)


def test_separable_classes_are_separated(easy):
    result = linear_probe(*easy)
    assert result.top1 == 100.0 and result.train_top1 == 100.0
    assert result.top5 is None  # of three classes it would say nothing


def test_scale_and_shift_of_a_feature_do_not_matter(hard):
    scale, shift = np.array([1, 100, 0.01, 3], np.float32), np.array([0, 9, 1, -5], np.float32)
    one = linear_probe(*hard)
    two = linear_probe(*(replace(part, rows=part.rows * scale + shift) for part in hard))
    assert one.top1 == pytest.approx(two.top1, abs=2)
    assert 40 < one.top1 < 95


def test_every_fit_is_reported(hard):
    seen: list[tuple[int, int]] = []
    result = linear_probe(*hard, progress=lambda *step: seen.append(step[:2]))
    fits = len(result.tried) + 1
    assert [done for done, _ in seen] == list(range(1, fits + 1))
    assert seen[0] == (1, 6) and seen[-1] == (fits, fits)


def test_noise_gives_chance():
    rng = np.random.default_rng(0)
    train, test = (
        LabelledFeatures(
            rng.normal(size=(n, 8)).astype(np.float32), rng.integers(0, 4, n), range(n)
        )
        for n in (200, 600)
    )
    assert 18 < linear_probe(train, test).top1 < 32


def test_the_test_set_does_not_choose_the_penalty(hard):
    train, test = hard
    wrong = replace(test, labels=(test.labels + 1) % 3)
    assert linear_probe(train, test).penalty == linear_probe(train, wrong).penalty


def test_groups_are_held_out_whole():
    """Rows of a group are copies: a hold-out of rows would find all of them right."""
    rng = np.random.default_rng(0)
    rows = np.repeat(rng.normal(size=(40, 60)), 5, axis=0).astype(np.float32)
    labels = np.repeat(rng.integers(0, 2, 40), 5)
    by_group = LabelledFeatures(rows, labels, np.repeat(np.arange(40), 5).tolist())
    by_row = replace(by_group, groups=rng.permutation(200).tolist())
    assert max(linear_probe(by_row, by_row).tried.values()) > 95
    assert max(linear_probe(by_group, by_group).tried.values()) < 75


def test_held_out_groups_of_classes_that_the_others_lack_choose_no_penalty():
    """Groups that are the videos in a row, five classes in turn: every fifth is of one class."""
    labels = np.tile(np.arange(5), 8)
    rows = np.eye(5, 8, dtype=np.float32)[labels]
    result = linear_probe(*2 * [LabelledFeatures(rows, labels, list(range(40)))])
    assert result.penalty_from == "default" and result.tried == {} and result.top1 == 100.0
    labels[4] = 0  # one of the held-out videos has a class that the others have
    result = linear_probe(*2 * [LabelledFeatures(rows, labels, list(range(40)))])
    assert result.penalty_from == "held-out groups"
    assert set(result.tried.values()) <= {0.0, 100.0}  # of this one video


def test_a_fit_that_does_not_converge_says_so(monkeypatch, caplog, hard):
    linear._say_unconverged.cache_clear()
    linear_probe(*hard)
    assert not caplog.records
    monkeypatch.setattr(linear, "_ITERATIONS", 3)
    linear_probe(*hard)
    (record,) = caplog.records  # once, however many fits
    assert "had not converged after 3 iterations" in record.getMessage()
    linear._say_unconverged.cache_clear()


def test_one_class_and_one_group():
    train = LabelledFeatures(np.ones((4, 3), np.float32), np.zeros(4, int), [0] * 4)
    result = linear_probe(train, replace(train, labels=np.array([0, 0, 1, 1])))
    assert result.top1 == 50.0
    assert result.penalty_from == "default" and result.tried == {}
    assert result.predictions.dtype == np.int64 and result.predictions.tolist() == [0] * 4


@pytest.mark.parametrize("penalty", [1e-4, 1e-2, 1.0])
def test_against_sklearn(penalty, monkeypatch):
    monkeypatch.setattr(linear, "ROWS", 70)  # several blocks
    train, test = blobs(300, 0, 4.0), blobs(100, 1, 4.0)
    classify = fit_lbfgs(LabelledRows(train.rows, train.labels, CPU), 3, penalty)
    usual = LogisticRegression(C=1 / (2 * penalty * 300), tol=1e-10, max_iter=10_000)
    usual.fit(train.rows.astype(np.float64), train.labels)
    scores = classify(torch.from_numpy(test.rows))
    weights = classify(torch.eye(4)) - classify(torch.zeros(4, 4))
    assert torch.softmax(scores, dim=1).numpy() == pytest.approx(
        usual.predict_proba(test.rows.astype(np.float64)), abs=1e-5
    )
    assert weights.T.numpy() == pytest.approx(usual.coef_, abs=1e-4)


def test_blocks_of_rows_change_nothing(monkeypatch, hard):
    whole = linear_probe(*hard)
    monkeypatch.setattr("evaluate.probe.probe.ROWS", 17)
    monkeypatch.setattr(linear, "ROWS", 17)
    blocks = linear_probe(*hard)
    assert whole.numbers() == blocks.numbers()
    assert np.array_equal(whole.predictions, blocks.predictions)


@pytest.mark.parametrize("solver", ["lbfgs", "sgd"])
def test_twice_the_same_and_predictions_are_what_top1_counts(solver, hard):
    settings = ProbeSettings(solver=solver, sgd=Sgd(batch=16, epochs=5))
    one = linear_probe(*hard, settings)
    torch.rand(3)
    two = linear_probe(*hard, settings)
    assert one.numbers() == two.numbers() and one.tried == two.tried
    assert np.array_equal(one.predictions, two.predictions)
    assert one.top1 == pytest.approx(100 * (one.predictions == hard[1].labels).mean())
    assert one.penalty_from == ("held-out groups" if solver == "lbfgs" else "")
    assert one.numbers()["penalty"] == one.penalty


@pytest.mark.parametrize("penalties", [(10.0, 100.0), (1e-7, 1e-6)])
def test_the_grid_is_widened_at_an_edge(penalties):
    rng = np.random.default_rng(2)
    y = rng.integers(0, 3, 120)
    rows = rng.normal(size=(120, 40)).astype(np.float32)
    rows[:, :3] += 2 * np.eye(3)[y] * [1.0, 0.3, 0.05]
    train = LabelledFeatures(rows, y, [i // 2 for i in range(120)])
    result = linear_probe(train, train, ProbeSettings(penalties=penalties))
    outside = [p for p in result.tried if not penalties[0] <= p <= penalties[1]]
    assert outside
    assert result.tried[result.penalty] == max(result.tried.values())
    # It stopped where going on no longer helped.
    assert result.tried[outside[-1]] <= result.tried[result.penalty]


FALLING = {1e-4: 50.0, 1e-3: 30.0, 1e-2: 30.0, 1e-1: 20.0, 1.0: 5.0}


@pytest.mark.parametrize(
    ("right", "chosen", "beyond"),
    [
        # Inside the grid nothing is widened.
        (FALLING | {1e-4: 10.0, 1e-5: 50.0}, 1e-2, []),
        # An edge is left only for what is strictly better.
        (FALLING | {1e-5: 50.0}, 1e-4, [1e-5]),
        (FALLING | {1e-5: 60.0, 1e-6: 70.0, 1e-7: 70.0, 1e-8: 99.0}, 1e-6, [1e-5, 1e-6, 1e-7]),
        (dict.fromkeys([*PENALTIES, 10.0], 100.0), 1.0, [10.0]),
        # Six times at most.
        ({10.0**i: 50.0 - i for i in range(-10, 1)}, 1e-10, [10.0**i for i in range(-5, -11, -1)]),
    ],
)
def test_which_penalty_is_chosen(monkeypatch, hard, right, chosen, beyond):
    """Where each is right of so many held-out videos."""
    fitted, share = [], LabelledRows.share
    monkeypatch.setattr(
        "evaluate.probe.probe.fit_lbfgs",
        lambda data, classes, penalty: fitted.append(penalty) or (lambda x: x.double()),
    )
    monkeypatch.setattr(
        LabelledRows,
        "share",
        lambda self, best: right[fitted[-1]] if best.shape[1] == 1 else share(self, best),
    )
    result = linear_probe(hard[0], hard[0])
    assert result.penalty == chosen
    assert list(result.tried) == pytest.approx([*PENALTIES, *beyond])


def test_sgd_separates_what_is_separable(easy):
    seen: list[tuple[int, int]] = []
    settings = ProbeSettings(solver="sgd", standardise=False)
    result = linear_probe(*easy, settings, progress=lambda *step: seen.append(step[:2]))
    assert result.top1 == 100.0 and result.penalty is None and result.penalty_from == ""
    assert seen == [(i, 100) for i in range(1, 101)]


def test_sgd_takes_a_last_batch_of_one_and_falls_in_steps(monkeypatch):
    train, rates = blobs(33, 0, 0.5), []

    class Watched(torch.optim.SGD):
        def step(self, *words):
            rates.append(self.param_groups[0]["lr"])
            return super().step(*words)

    monkeypatch.setattr(torch.optim, "SGD", Watched)
    settings = ProbeSettings(solver="sgd", sgd=Sgd(epochs=10, batch=16))
    linear_probe(train, train, settings)
    assert rates == pytest.approx([1.0] * 12 + [0.1] * 4 + [0.01] * 4)
    with pytest.raises(EvaluateError, match=r"has 1 training videos.* Use --probe lbfgs"):
        linear_probe(blobs(1, 0, 0.5), train, settings)


def test_without_standardising_the_scale_matters(hard):
    train = hard[0]
    small = replace(train, rows=train.rows * 1e-3)
    for standardise in (False, True):
        settings = ProbeSettings(standardise=standardise, penalties=(1.0,))
        one, two = (linear_probe(part, part, settings).train_top1 for part in (train, small))
        assert (one == two) is standardise


@pytest.mark.parametrize("scale", [1e38, 2e38])
def test_scores_that_are_no_numbers_give_no_figure(scale):
    """Batch norm's mean overflows; standardised features are of any size."""
    parts = [
        replace(part, rows=np.abs(part.rows) / 6 * np.float32(scale))
        for part in (blobs(60, 1, 0.1), blobs(20, 2, 0.1))
    ]
    raw = ProbeSettings(standardise=False, solver="sgd")
    with pytest.raises(EvaluateError, match=r"features as large as \d\.\de\+\d\d overflow .*--raw"):
        linear_probe(*parts, raw)
    assert linear_probe(*parts, replace(raw, standardise=True)).top1 == 100.0


def test_settings_that_are_refused():
    with pytest.raises(EvaluateError, match=r"no solver 'adam'; choose from lbfgs, sgd"):
        ProbeSettings(solver="adam")
    for penalties in ((), (0.1, 0.0)):
        with pytest.raises(EvaluateError, match="Give one or more, all above 0"):
            ProbeSettings(penalties=penalties)


def test_videos_of_a_recording_do_not_choose_the_penalty_for_each_other():
    """Copies of recordings whose classes are by chance: held out with their recording, no penalty
    can tell them; held out row by row, all would be known."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(50, 64)).repeat(5, axis=0).astype(np.float32)
    groups = np.arange(50).repeat(5).tolist()
    part = LabelledFeatures(rows, rng.integers(0, 2, 50).repeat(5), groups)
    result = linear_probe(part, part)
    assert result.penalty_from == "held-out groups" and result.train_top1 > 85
    assert max(result.tried.values()) < 90


@pytest.mark.parametrize("classes", [5, 6])
def test_top5_says_something_of_six_classes_or_more(classes):
    rows = np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32)
    part = LabelledFeatures(rows, np.arange(60) % classes, list(range(60)))
    assert (linear_probe(part, part).top5 is None) == (classes == 5)
