import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from evaluate.errors import EvaluateError
from evaluate.finetune import trainer
from evaluate.finetune.classifier import Classifier
from evaluate.finetune.settings import FinetuneSettings
from evaluate.finetune.trainer import Learner, learning_rate
from evaluate.own_encoder import Encoder, EncoderNetwork
from evaluate.protocol import Protocol
from trainer.backbones.all_backbones import make_backbone

CPU = torch.device("cpu")
PROTOCOL = Protocol(frames=4, size=16)


@pytest.fixture
def clips() -> torch.Tensor:
    return torch.randn(4, 3, 4, 16, 16, generator=torch.Generator().manual_seed(1))


def learner(protocol: Protocol = PROTOCOL, **settings) -> Learner:
    torch.manual_seed(0)
    recipe = FinetuneSettings(batch=4, **settings)
    return Learner(Classifier(make_backbone("r3d-tiny"), 3, protocol, CPU, recipe), recipe, 10, CPU)


def attentive(**settings) -> Learner:
    """On a layer whose map has 4 positions: the last has one."""
    how = {"frozen": True, "head": "attentive", "optimiser": "adamw", "lr": 0.01}
    return learner(replace(PROTOCOL, layer="layer3"), **how | settings)


def test_an_encoder_of_the_users_may_have_parameters_without_use(monkeypatch):
    """Such as the mask token of DINOv2, for which several processes would wait."""
    seen = []

    def noting(network, device, some_unused):
        seen.append(some_unused)
        return network

    monkeypatch.setattr(trainer, "over_ranks", noting)
    backbone = make_backbone("r3d-tiny")
    facts = Encoder(module=backbone, frames=4, size=16, gives="map")
    for one in (backbone, EncoderNetwork(backbone, facts, "mine", Path("mine.py"))):
        recipe = FinetuneSettings(batch=4)
        Learner(Classifier(one, 3, PROTOCOL, CPU, recipe), recipe, 10, CPU)
    assert seen == [False, True]


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


def test_an_attentive_probe_learns_attention_and_linear_layer_alone(clips):
    one = attentive(heads=4)
    before = {k: v.clone() for k, v in one.classifier.state_dict().items()}
    one.take(clips, torch.tensor([0, 1, 2, 0]))
    one.take(clips, torch.tensor([0, 1, 2, 0]))  # at the first step logits are nearly even
    changed = {k for k, v in one.classifier.state_dict().items() if not torch.equal(v, before[k])}
    learned = one.state_dict()["learned"]
    even = {"attention.to_key.bias"}  # adds the same to all positions, so it has no gradient
    assert changed | even == set(learned) | even and "attention.query" in learned
    assert not any(name.startswith("features.") for name in learned)
    assert one.classifier.attention is not None and one.classifier.attention.heads == 4


def test_an_attentive_probe_sees_the_positions_of_the_map(clips):
    """The average of a map does not decide its logits."""
    classifier = attentive().classifier.eval()
    positions = classifier.features.positions(clips)
    assert torch.allclose(positions.mean((2, 3, 4)), classifier.features(clips), atol=1e-6)
    wanted = classifier.fc(classifier.attention(positions))
    assert torch.equal(classifier(clips), wanted)
    assert not torch.allclose(
        wanted, classifier.fc(classifier.attention(positions.mean((2, 3, 4), keepdim=True)))
    )


def test_weight_decay_pulls_at_the_query_and_at_no_bias():
    one = attentive(weight_decay=0.3)
    pulled, free = one.optimiser.param_groups
    assert (pulled["weight_decay"], free["weight_decay"]) == (0.3, 0.0)
    attention = one.classifier.attention
    assert any(weight is attention.query for weight in pulled["params"])
    assert all(weight.ndim == 1 for weight in free["params"])


def test_one_vector_is_nothing_to_attend_to():
    with pytest.raises(EvaluateError, match=r"one vector for a clip of 4 frames .*--head linear"):
        learner(frozen=True, head="attentive")
    with pytest.raises(EvaluateError, match="heads is 3, which does not divide the 64 channels"):
        attentive(heads=3)
