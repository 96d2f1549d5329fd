import copy

import pytest
import torch

from evaluate.errors import EvaluateError
from evaluate.finetune.classifier import Classifier
from evaluate.finetune.settings import FinetuneSettings
from evaluate.finetune.trainer import Learner, learning_rate
from evaluate.protocol import Protocol
from trainer.backbones.all_backbones import make_backbone

CPU = torch.device("cpu")
PROTOCOL = Protocol(frames=4, size=16)


@pytest.fixture
def clips() -> torch.Tensor:
    return torch.randn(4, 3, 4, 16, 16, generator=torch.Generator().manual_seed(1))


def learner(**settings) -> Learner:
    torch.manual_seed(0)
    recipe = FinetuneSettings(batch=4, **settings)
    return Learner(Classifier(make_backbone("r3d-tiny"), 3, PROTOCOL, CPU, recipe), recipe, 10, CPU)


def test_the_cosine_schedule():
    settings = FinetuneSettings(lr=2.0, warmup=0.1)
    rates = [learning_rate(settings, step, 100) for step in (0, 5, 10, 55, 99)]
    assert rates == pytest.approx([2 / 11, 12 / 11, 2.0, 1.0, 0.0], abs=2e-3)


def test_the_schedule_of_drops():
    settings = FinetuneSettings(lr=2.0, schedule="steps", drops=(0.5, 0.75), factor=0.1)
    steps = (0, 49, 50, 74, 75, 99)
    rates = [learning_rate(settings, step, 100) for step in steps]
    assert rates == pytest.approx([2.0, 2.0, 0.2, 0.2, 0.02, 0.02])


def test_the_rate_reaches_the_optimiser(clips):
    one = learner(lr=0.3, schedule="steps", drops=(0.1,), factor=0.5, frozen=True)
    for expected in (0.3, 0.15):
        one.take(clips, torch.tensor([0, 1, 2, 0]))
        assert {group["lr"] for group in one.optimiser.param_groups} == {expected}


def test_the_first_logits_are_those_of_the_seed_alone():
    same = learner().classifier.fc.weight
    torch.rand(5)
    assert torch.equal(learner().classifier.fc.weight, same)
    assert not torch.equal(learner(seed=1).classifier.fc.weight, same)


def test_dropout_is_for_training_and_comes_from_seed_and_step(clips):
    labels = torch.tensor([0, 1, 2, 0])
    losses = []
    for seed in (0, 0, 1):
        one = learner(dropout=0.9, lr=1e-9, frozen=True)
        one.settings = FinetuneSettings(batch=4, dropout=0.9, lr=1e-9, frozen=True, seed=seed)
        torch.manual_seed(99 + len(losses))  # what was drawn before has no influence
        with torch.no_grad():
            one.classifier.fc.weight.mul_(100)
        losses.append([one.take(clips, labels) for _ in range(3)])
    assert losses[0] == losses[1] != losses[2]
    assert len(set(losses[0])) == 3
    one.classifier.eval()
    assert torch.equal(one.logits(clips), one.logits(clips))


def test_weight_decay_pulls_at_no_bias(clips):
    one = learner(weight_decay=0.3, frozen=True)
    decays = {len(g["params"]): g["weight_decay"] for g in one.optimiser.param_groups}
    assert [g["weight_decay"] for g in one.optimiser.param_groups] == [0.3, 0.0]
    assert decays == {1: 0.0}  # one weight, one bias: nothing else learns


def test_a_loss_that_is_no_number_does_not_reach_the_weights(clips):
    one = learner(lr=0.1)
    one.take(clips, torch.tensor([0, 1, 2, 0]))
    before = [p.clone() for p in one.classifier.parameters()]
    with pytest.raises(EvaluateError, match=r"The loss is nan at step 2 .*now 0\.1\).*--overwrite"):
        one.take(clips * float("nan"), torch.tensor([0, 1, 2, 0]))
    pairs = zip(before, one.classifier.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_the_state_is_whole(clips):
    labels = torch.tensor([0, 1, 2, 0])
    one, two = learner(lr=0.1), learner(lr=0.1)
    one.take(clips, labels)
    one.end_epoch(1, 40.0)
    two.load_state_dict(copy.deepcopy(one.state_dict()))
    assert two.step == 1 and two.epochs == one.epochs
    assert two.best is not None and one.best is not None
    assert all(torch.equal(v, two.best[k]) for k, v in one.best.items())
    assert one.take(clips.flip(0), labels) == two.take(clips.flip(0), labels)
    pairs = zip(one.classifier.parameters(), two.classifier.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_a_frozen_one_keeps_little():
    frozen, whole = (learner(frozen=f).state_dict()["learned"] for f in (True, False))
    assert set(frozen) == {"weight", "bias"} and len(whole) > 40
