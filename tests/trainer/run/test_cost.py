import re
from dataclasses import asdict
from functools import cache

import pytest
import torch

from trainer.config.recipe_file import load_recipe, override
from trainer.config.settings import Config
from trainer.errors import TrainerError
from trainer.method.ascnet import Encoder, mlp
from trainer.run.cost import Estimate, estimate, saved_bytes

TINY = ("model.backbone=r3d-tiny", "data.frames=8", "data.size=32", "optim.batch=6")


@cache
def changed(*assignments: str) -> Estimate:
    return estimate(override(Config(), (*TINY, *assignments)))


@pytest.mark.parametrize(
    ("name", "size", "published", "head"),
    [
        ("r3d18", 112, 40.697, 512 * 400),
        ("r2plus1d18", 112, 40.519, 512 * 400),
        # Its classifier is at each place that the 2x7x7 average pooling leaves, here one.
        ("s3d", 224, 17.979, 1024 * 400),
    ],
)
def test_operations_are_the_published_ones(name, size, published, head):
    """`_ops` of torchvision's weights: 10^9 multiply-adds of a clip of 16 frames."""
    sizes = (f"model.backbone={name}", "data.frames=16", f"data.size={size}")
    found = changed(*sizes).clip_gflops / 2
    assert found == pytest.approx(published - head / 1e9, abs=0.001)


def test_operations_of_a_step():
    """Backward is twice forward, but no gradient goes on from the first layer to the clips; the
    target goes forward once more."""
    heads = 2 * (128 * 2048 + 2048 * 256)  # multiply-adds of the projectors
    predictors = 2 * (256 * 2048 + 2048 * 256)
    stem = 3 * 16 * 3 * 7 * 7 * 8 * 16 * 16
    for momentum in (0.9, 0.0):
        found = changed(f"objective.momentum={momentum}")
        encoder = found.clip_gflops * 1e9 + 2 * heads
        clip = 3 * (encoder + 2 * predictors) - 2 * stem + (encoder if momentum else 0)
        assert found.step_gflops == pytest.approx(12 * clip / 1e9)


def test_activations_are_those_of_a_real_run():
    """What autograd keeps of 12 clips on a CPU, every storage once."""
    model = override(Config(), TINY).model
    encoder = Encoder(model)
    predictors = [mlp(model.dim, model.hidden, model.dim) for _ in range(2)]
    clips = torch.randn(12, 3, 8, 32, 32)

    def forward() -> torch.Tensor:
        _, appearance, speed = encoder(clips)
        return torch.stack([predictors[0](appearance), predictors[1](speed)]).sum()

    weights = [w for module in (encoder, *predictors) for w in module.parameters()]
    kept = saved_bytes(forward, [clips, *weights])
    assert changed().memory.activations == pytest.approx(kept, rel=0.001)


def test_saved_storages_count_once():
    x = torch.ones(4, 8, requires_grad=True)
    weight = torch.ones(8, 8, requires_grad=True)

    def forward() -> torch.Tensor:
        product = x @ weight  # keeps x and weight
        return product * product.view(8, 4).reshape(4, 8)  # keeps the product, through two views

    assert saved_bytes(forward, [x, weight]) == 4 * 32
    assert saved_bytes(forward, [x]) == 4 * (32 + 64)
    assert saved_bytes(forward, []) == 4 * (32 + 64 + 32)


def test_memory_by_part():
    found = changed("optim.optimiser=adamw", "objective.bank=100", "model.dim=64").memory
    trained = changed("model.dim=64").trained_weights
    assert found.weights == found.gradients == 4 * trained
    assert found.optimiser == 8 * trained
    assert changed("model.dim=64").memory.optimiser == 4 * trained
    assert changed("optim.momentum=0.0").memory.optimiser == 0
    assert 0 < found.target < found.weights
    assert changed("objective.momentum=0.0").memory.target == 0
    assert 100 * (64 + 64) * 4 <= found.bank <= 100 * ((64 + 64) * 4 + 5 * 8) + 64
    assert found.clips == 12 * 3 * 8 * 32 * 32 * 4
    assert found.total == sum(asdict(found).values())


def test_memory_of_smaller_parts_and_smaller_numbers():
    whole = changed().memory
    thirds = changed("optim.accumulate=3").memory
    assert thirds.clips == whole.clips / 3
    assert thirds.activations == pytest.approx(whole.activations / 3, rel=0.05)
    assert estimate(override(Config(), TINY), ranks=3).memory == thirds
    assert changed("optim.accumulate=3").step_gflops == changed().step_gflops

    half = changed("device.precision=bf16").memory
    assert half.activations == pytest.approx(whole.activations / 2, rel=0.05)
    assert half.weights == 1.5 * whole.weights
    assert half.gradients == whole.gradients


@pytest.mark.slow
def test_the_paper_s_largest_setting_and_nothing_is_computed():
    before = torch.get_rng_state()
    found = estimate(load_recipe("k400-s3dg"))
    assert torch.equal(torch.get_rng_state(), before)
    assert found.backbone_weights == 8_675_744
    assert found.trained_weights > found.backbone_weights
    assert 10e9 < found.memory.total < 200e9


def test_in_words():
    found = changed()
    first, second = found.text().splitlines()
    assert first.startswith("903,984 weights in the backbone, ")
    assert re.fullmatch(r"about [\d.]+ MB of memory on a device: [\d.]+ MB bank, .*", second)
    assert "activations" in second


def test_a_backbone_that_is_not_there():
    with pytest.raises(TrainerError, match="'x', which this version does not have"):
        changed("model.backbone=x")
