from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from builder.progress import silent
from evaluate.measures import fewshot_of, linear_of
from evaluate.probe.few_labels import (
    AMOUNTS,
    COLUMNS,
    DRAWS,
    Amount,
    drawing_orders,
    drawn,
    few_label_accuracy,
    pool_of,
)
from evaluate.probe.probe import ProbeSettings
from evaluate.retrieval.cosine import CPU
from evaluate.split import Parts

FOUR = Amount("4-shot", shots=4)


def parts_of(recordings: int = 10, clips: int = 2, shared: int = 0) -> Parts:
    """Three classes, numbered 0, 2 and 3, with so many recordings of so many clips each; the last
    three recordings of a class are tested. `shared`: first clips of tested recordings that are in
    the train part."""
    labels = np.array([0, 2, 3]).repeat(recordings * clips)
    groups = np.arange(3 * recordings).repeat(clips)
    is_tested = groups % recordings >= recordings - 3
    test = np.flatnonzero(is_tested)
    moved = test[::clips][:shared]
    return Parts(
        split="1",
        test_part="test",
        train=np.sort(np.concatenate([np.flatnonzero(~is_tested), moved])),
        test=np.setdiff1d(test, moved),
        labels=labels,
        groups=groups,
        classes=("a", "b", "c", "d"),
        unlabelled=0,
    )


def features_of(parts: Parts, noise: float = 1.5) -> np.ndarray:
    rng = np.random.default_rng(0)
    rows = np.eye(4, 12)[parts.labels] + noise * rng.normal(size=(len(parts.labels), 12))
    return rows.astype(np.float32)


@pytest.mark.parametrize("classes", [2, 3])
def test_eight_labels_and_ten_draws_are_scikit_learns_figure(classes):
    """MVEB's: LogisticRegression with its defaults on the features as they are. Of two classes it
    has one weight vector, so the same C is another penalty of ours."""
    parts = parts_of()
    if classes == 2:
        two = [part[parts.labels[part] != 3] for part in (parts.train, parts.test)]
        parts = replace(parts, train=two[0], test=two[1])
    features, pool = features_of(parts), pool_of(parts)
    ours = few_label_accuracy(features, pool, False, CPU, silent)["8-shot"]
    theirs = []
    for draw in range(10):
        train = drawn(drawing_orders(pool, draw), Amount("8-shot", shots=8))
        assert np.bincount(parts.labels[train]).tolist() == [8, 0, 8, 8][: classes + 1]
        usual = LogisticRegression(max_iter=10_000, tol=1e-10)
        usual.fit(features[train].astype(np.float64), parts.labels[train])
        theirs.append(100 * usual.score(features[pool.test], parts.labels[pool.test]))
    assert ours == pytest.approx(theirs) and len(set(theirs)) > 1
    measure = fewshot_of(features, parts, ProbeSettings(standardise=False), CPU, silent)
    assert measure.figures["8-shot"] == pytest.approx(np.mean(theirs))
    assert measure.spread["8-shot"] == pytest.approx(np.std(theirs, ddof=1))
    assert measure.details["draws"]["8-shot"] == ours


def test_no_recording_is_on_both_sides():
    parts = parts_of(shared=5)
    pool = pool_of(parts)
    tested = set(parts.groups[pool.test])
    assert np.isin(parts.groups[parts.train], list(tested)).sum() == 5
    for draw in range(DRAWS):
        for amount in (FOUR, Amount("all of it", percent=100)):
            train = drawn(drawing_orders(pool, draw), amount)
            assert not tested & set(parts.groups[train])
            assert set(train) <= set(parts.train) and len(set(train)) == len(train)
    assert pool.left_out == ("5 of 47 train videos not drawn: test videos are of their recordings",)


def test_the_same_seed_draws_the_same_and_a_larger_amount_has_the_smaller():
    pool = pool_of(parts_of())
    once, again, other = (drawing_orders(pool, draw) for draw in (3, 3, 4))
    assert drawn(once, FOUR).tolist() == drawn(again, FOUR).tolist()
    assert drawn(once, FOUR).tolist() != drawn(other, FOUR).tolist()
    assert set(drawn(once, Amount("2-shot", shots=2))) < set(drawn(once, FOUR))


def test_a_draw_of_a_class_does_not_depend_on_other_classes():
    whole = parts_of()
    some = pool_of(whole).train
    few = pool_of(Parts(**(whole.__dict__ | {"train": some[whole.labels[some] != 0]})))
    assert drawing_orders(few, 0)[3].tolist() == drawing_orders(pool_of(whole), 0)[3].tolist()


def test_distinct_recordings_come_first():
    """Seven recordings to draw of, three clips each."""
    pool = pool_of(parts_of(clips=3))
    for draw in range(DRAWS):
        for order in drawing_orders(pool, draw).values():
            groups = pool.parts.groups[order].tolist()
            assert len(order) == 21
            assert [len(set(groups[i : i + 7])) for i in (0, 7, 14)] == [7, 7, 7]


def test_what_a_class_cannot_give_is_left_out_and_said():
    """Of six videos a class."""
    parts = parts_of(recordings=6)
    measure = fewshot_of(features_of(parts), parts, ProbeSettings(), CPU, silent)
    known = [name for name, figure in measure.figures.items() if figure is not None]
    assert list(measure.figures) == COLUMNS
    assert known == ["1-shot", "2-shot", "4-shot", "10%", "all"]
    assert list(measure.spread) == known[:-1] and set(measure.details["draws"]) == set(known[:-1])
    assert measure.details["left_out_of_draws"] == [
        "8-shot, 16-shot left out: class a has only 6 drawable videos",
        "1% left out: of the 6 drawable videos of class a, that rounds to none",
    ]


@pytest.mark.parametrize(("percent", "videos", "share"), [(1, 49, 0), (1, 50, 1), (1, 150, 2)])
def test_a_share_is_of_every_class_and_rounded(percent, videos, share):
    assert Amount("some", percent=percent).of(videos) == share
    assert [a.name for a in AMOUNTS][-2:] == ["1%", "10%"]


def test_all_labels_are_the_linear_probe():
    parts = parts_of()
    features = features_of(parts)
    measure = fewshot_of(features, parts, ProbeSettings(), CPU, silent)
    linear = linear_of(features, parts, ProbeSettings(), CPU, silent)
    assert measure.figures["all"] == linear.figures["top1"]
    assert measure.details["penalty"] == linear.details["penalty"]
    assert "all" not in measure.spread


def test_standardised_by_the_drawn_videos_scale_does_not_matter():
    parts = parts_of()
    features, pool = features_of(parts), pool_of(parts)
    scaled = (features * np.geomspace(0.1, 10, 12) + 3).astype(np.float32)
    accuracies = {
        standardise: [
            few_label_accuracy(x, pool, standardise, CPU, silent)["8-shot"]
            for x in (features, scaled)
        ]
        for standardise in (True, False)
    }
    assert accuracies[True][0] == pytest.approx(accuracies[True][1])
    assert accuracies[False][0] != pytest.approx(accuracies[False][1])


def test_classes_of_which_nothing_can_be_drawn_are_not_tested():
    """Every train video of class 0 is of a tested recording."""
    parts = parts_of()
    groups = np.where(parts.labels == 0, 0, parts.groups)
    shared = Parts(**(parts.__dict__ | {"groups": groups}))
    pool = pool_of(shared)
    assert set(shared.labels[pool.test]) == {2, 3}
    assert pool.left_out[1] == "6 of 18 test videos left out: no video of their class can be drawn"
    every = Parts(**(parts.__dict__ | {"groups": np.zeros_like(parts.groups)}))
    measure = fewshot_of(features_of(every), every, ProbeSettings(), CPU, silent)
    assert set(measure.figures.values()) == {None} and not measure.spread


def test_progress_ends_at_its_total():
    parts, seen = parts_of(recordings=6), []
    fewshot_of(features_of(parts), parts, ProbeSettings(), CPU, lambda *step: seen.append(step))
    assert [done for done, _, _ in seen] == list(range(1, len(seen) + 1))
    assert all(done < total for done, total, _ in seen[:-1])
    assert seen[0] == (1, 41, "draw 1, 1-shot") and seen[-1][0] == seen[-1][1]
