from functools import partial
from pathlib import Path

import pytest

from builder.shards.dataset import ShardDataset
from evaluate.errors import EvaluateError
from evaluate.split import parts_of, splits_of
from tests.evaluate.changed_videos import changed_videos


@pytest.fixture
def changed(shards: Path):
    return partial(changed_videos, shards)


def test_train_and_test(dataset):
    parts = parts_of(dataset, "1")
    assert sorted([*parts.train, *parts.test]) == list(range(16))
    assert parts.counts == {"train": 12, "test": 4, "unlabelled": 0}
    assert parts.test_part == "test" and parts.classes == ("bars", "test")
    assert parts.with_siblings == 0


def test_unlabelled_videos_are_counted_and_left_out(changed):
    dataset = changed(lambda i, video: {"label": None} if i % 5 == 0 else {})
    parts = parts_of(dataset, "1")
    assert parts.unlabelled == 4 and len(parts.train) + len(parts.test) == 12


def test_val_where_test_has_no_labels(changed):
    def kinetics(i, video):
        part = video.splits["1"]
        return {"splits": {"1": "val" if part == "test" else part}}

    parts = parts_of(changed(kinetics), "1")
    assert parts.test_part == "val" and len(parts.test) == 4


def test_siblings_across_the_split_are_counted(changed):
    assert parts_of(changed(lambda i, video: {"group": "same"}), "1").with_siblings == 4


def test_a_factor_for_the_class(changed):
    dataset = changed(lambda i, video: {"factors": {"tempo": 1.5 if i % 2 else 10}})
    parts = parts_of(dataset, "1", "tempo")
    assert parts.classes == ("1.5", "10")
    assert parts.labels.tolist() == [1, 0] * 8
    with pytest.raises(EvaluateError, match="no known factor 'colour'; they have tempo"):
        parts_of(dataset, "1", "colour")


def test_splits(dataset, changed, monkeypatch):
    assert splits_of(dataset, "1") == ["1"]
    assert splits_of(dataset, "all") == ["1"]
    with pytest.raises(EvaluateError, match=r"no labelled train videos in split 7; its splits"):
        parts_of(dataset, "7")
    dataset = changed(lambda i, video: {"splits": {"1": "train"}})
    with pytest.raises(EvaluateError, match="no labelled test videos in split 1"):
        parts_of(dataset, "1")
    monkeypatch.setattr(ShardDataset, "splits", lambda self: {"1": {"train"}})
    with pytest.raises(EvaluateError, match=r"no split with both .* videos; its splits are 1 \(tr"):
        splits_of(dataset, "all")
