from dataclasses import replace

import numpy as np
import pytest
import torch

from builder.shards.dataset import ShardDataset
from evaluate.encoders import of_run
from evaluate.errors import EvaluateError
from evaluate.features.encode import Pooled, to_device
from evaluate.protocol import protocol_of
from evaluate.request import Question
from evaluate.split import Parts, parts_of
from evaluate.tasks import evaluate
from experiments import measure
from experiments.hand_crafted import colours, pixels
from experiments.measure import Measures, few_shot, figures_of, speed_of
from trainer.data.augment import MEAN, STD

CPU = torch.device("cpu")


def test_the_figures_are_those_of_evaluate(finished_run, tiny, shards, tmp_path):
    dataset = ShardDataset(shards)
    subjects = replace(of_run(finished_run), folder=tmp_path)
    pooled = Pooled(subjects.trained.backbone)
    to_device(pooled, CPU)
    found = figures_of(pooled, dataset, protocol_of(tiny), Measures("1"))
    for task, column, name in (("retrieval", "recall@1", "recall@1"), ("linear", "top1", "linear")):
        question = Question(task, "1", protocol_of(tiny), baseline=False)
        result = evaluate(question, subjects, dataset, CPU)
        assert found[f"folder class {name}"] == result["results"]["trained"][column]


def test_speed_is_told_from_features_that_hold_it_and_from_no_others(dataset):
    parts = parts_of(dataset, "1")
    noise = np.random.default_rng(0).normal(size=(len(dataset.videos), 3)).astype(np.float32)
    shifted = noise.copy()
    shifted[:, 1] += 20
    assert speed_of([noise, shifted], parts) == 100.0
    assert speed_of([noise, noise], parts) == pytest.approx(50.0)


def test_every_video_is_tested_once_and_never_with_its_own_recording(dataset, tiny, monkeypatch):
    tested, strides = [], []

    def recall(features, parts):
        tested.append(len(parts.test))
        assert not set(parts.groups[parts.test]) & set(parts.groups[parts.train])
        assert len(set(parts.test) | set(parts.train)) == len(dataset.videos)
        return float(len(parts.test))

    def features_of(network, dataset, protocol):
        strides.append(protocol.stride)
        return np.random.default_rng(0).normal(size=(len(dataset.videos), 3)).astype(np.float32)

    monkeypatch.setattr(measure, "_recall", recall)
    monkeypatch.setattr(measure, "features_of", features_of)
    protocol = replace(protocol_of(tiny), stride=3)
    found = figures_of(pixels, dataset, protocol, Measures("1", folds=3))
    assert sum(tested) == len(dataset.videos) and len(tested) == 3
    mean = sum(n * n for n in tested) / sum(tested)  # weighted by the videos tested
    assert found[f"{dataset.name} class recall@1"] == pytest.approx(mean)
    assert len(set(tested)) > 1 and strides == [3, 6]


def test_folds_of_one_recording_are_refused_in_words(dataset):
    alone = parts_of(dataset, "1")
    alone = replace(alone, groups=np.zeros_like(alone.groups))
    with pytest.raises(EvaluateError, match=r"folds is 3, and the \d+ labelled videos are of 1 "):
        measure._folds(alone, Measures("1", folds=3))


def test_settings_are_chosen_on_held_out_groups_of_the_training_part(dataset):
    parts = parts_of(dataset, "1")
    assert len(set(parts.groups[parts.train])) > 2 and len(parts.test)
    folds = measure._folds(parts, Measures("1", folds=3, choosing=True))
    tested = np.concatenate([fold.test for fold in folds])
    assert sorted(tested) == sorted(parts.train)
    for fold in folds:
        assert sorted([*fold.train, *fold.test]) == sorted(parts.train)
        assert not set(fold.groups[fold.train]) & set(fold.groups[fold.test])


def test_hand_crafted_features():
    clips = torch.zeros(2, 3, 1, 2, 2)
    clips[0, 0, 0, 0, 0] = 5.0
    assert pixels(clips).shape == (2, 12) and pixels(clips)[0, 0] == 5.0
    values = torch.tensor([[1.0, 0.0, 0.3], [0.0, 0.0, 0.0]])  # RGB: one colour a clip
    normal = (values - torch.tensor(MEAN)) / torch.tensor(STD)
    shares = colours(normal[:, :, None, None, None].expand(2, 3, 1, 2, 2))
    assert shares.shape == (2, 64)
    assert shares[0, 3 * 16 + 0 * 4 + 1] == 1.0 and shares[1].sum() == pytest.approx(1.0)


def test_few_shot_by_hand():
    """Three classes along three axes, one video of each that lies elsewhere."""
    axes = np.repeat(np.eye(3, dtype=np.float32), 4, axis=0)
    labels = np.repeat(np.arange(3), 4)
    train, test = (np.flatnonzero(np.isin(np.arange(12) % 4, x)) for x in ((0, 1), (2, 3)))
    parts = Parts("1", "test", train, test, labels, np.arange(12), ("a", "b", "c"), 0)
    assert few_shot(5 + axes, parts, 2) == 100.0
    moved = axes.copy()
    moved[[2, 6, 10]] = axes[[6, 10, 2]]  # half of the test videos look like another class
    assert few_shot(5 + moved, parts, 2) == 50.0
    assert few_shot(np.ones_like(axes), parts, 1) == pytest.approx(100 / 3)
