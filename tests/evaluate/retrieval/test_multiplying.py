"""Features and what is measured of them are float32, whatever the process is set to."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn.modules.module import register_module_forward_pre_hook

from builder.progress import silent
from evaluate.features import extract as features
from evaluate.finetune import finetune
from evaluate.finetune.classifier import Classifier
from evaluate.finetune.settings import FinetuneSettings
from evaluate.finetune.trainer import Learner
from evaluate.probe.linear import LabelledRows, Sgd, fit_sgd
from evaluate.protocol import Protocol
from evaluate.search import duplicates
from tests.evaluate.stores import video
from tests.float32_state import WAYS, look, multiplying
from trainer.backbones.all_backbones import make_backbone

CPU = torch.device("cpu")
WAYS_NOW = (WAYS[0], "torch.backends.fp32_precision = 'tf32'")
TRIES = "torch.backends.cudnn.benchmark = True"


class SeenError(Exception):
    """The state was looked at: enough."""


def is_exact(said: dict[str, object]) -> bool:
    parts = ("cuda.matmul", "cudnn.conv", "mkldnn.matmul", "mkldnn.conv")
    exact = {said[f"torch.backends.{part}.fp32_precision"] for part in parts} == {"ieee"}
    return exact and "no answer" not in said.values()


@pytest.mark.parametrize("way", WAYS_NOW)
def test_features_are_extracted_in_float32(tmp_path, monkeypatch, way) -> None:
    seen = []

    def stop(*_: object) -> None:
        seen.append(look())
        raise SeenError

    monkeypatch.setattr(features.Extraction, "identity", {})
    monkeypatch.setattr(features, "clips_of", stop)
    dataset = SimpleNamespace(videos=[video("x.mp4", 1)], folder=tmp_path)
    subject = SimpleNamespace(backbone=None)
    with multiplying(way, TRIES) as said:
        with pytest.raises(SeenError):
            features.extract(tmp_path / "x.h5", features.Extraction(subject, None, dataset, CPU))
        assert is_exact(seen[0]) and seen[0]["torch.backends.cudnn.benchmark"] is False
        assert look() == said


@pytest.mark.parametrize("way", WAYS_NOW)
def test_near_duplicates_are_found_in_float32(monkeypatch, way) -> None:
    seen = []

    def stop(*_: object) -> None:
        seen.append(look())
        raise SeenError

    monkeypatch.setattr(duplicates, "unit_rows", stop)
    store = SimpleNamespace(clip_features=np.ones((2, 2), np.float32), path="x.h5")
    with multiplying(way) as said:
        with pytest.raises(SeenError):
            duplicates.find_pairs(store, 0.9, np.zeros(2, np.float32))
        assert is_exact(seen[0]) and look() == said


@pytest.mark.parametrize("way", WAYS_NOW)
def test_the_sgd_probe_learns_and_classifies_in_float32(way) -> None:
    seen = []
    hook = register_module_forward_pre_hook(lambda *_: seen.append(look()))
    try:
        with multiplying(way) as said:
            data = LabelledRows(np.eye(4, dtype=np.float32), np.array([0, 1, 0, 1]), CPU)
            data.best(fit_sgd(data, 2, Sgd(epochs=1), silent), 1)
            assert look() == said
    finally:
        hook.remove()
    assert len(seen) == 6 and all(map(is_exact, seen))  # three modules, twice


def test_tests_of_a_classifier_do_without_trials_of_cudnn(monkeypatch) -> None:
    """Their batches are of many sizes; those of training are of one."""
    recipe, protocol = FinetuneSettings(batch=2, precision="tf32"), Protocol(frames=4, size=16)
    classifier = Classifier(make_backbone("r3d-tiny"), 3, protocol, CPU, recipe)
    learner = Learner(classifier, recipe, 10, torch.device("cuda"))
    seen = []

    def encode(*_: object, **__: object):
        seen.append(look())
        yield 0, torch.ones(2, 3)

    monkeypatch.setattr(finetune, "encode_together", encode)
    monkeypatch.setattr(finetune, "clips_of", lambda *_: [[None, None]])
    part = SimpleNamespace(videos=[None])
    with multiplying(WAYS[0]) as said:
        with learner.multiplying():
            training = look()
            assert training["torch.backends.cudnn.benchmark"] is True
            finetune.video_logits(learner, part, None)
            assert seen[0]["torch.backends.cudnn.benchmark"] is False
            assert seen[0]["torch.backends.cudnn.conv.fp32_precision"] == "tf32"
            assert look() == training
        assert look() == said
