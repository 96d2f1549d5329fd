from pathlib import Path

import pytest
import torch

from trainer.backbones.all_backbones import make_backbone
from trainer.config.recipe_file import override
from trainer.errors import TrainerError
from trainer.method.guards import CollapseGuard, EarlyNumber, must_be_finite
from trainer.method.monitor import healthy_std


def test_a_number_is_read_as_it_was(tiny):
    value = torch.tensor(2.5, requires_grad=True)
    assert EarlyNumber(value * 2).read() == 5.0


def guard(tiny, *changes):
    return CollapseGuard(
        override(tiny, ("objective.collapse=0.1", "objective.collapse_steps=100", *changes)), {}
    )


def test_a_collapse_that_lasts_stops_the_run(tiny):
    healthy, low = healthy_std(tiny.model.dim), 0.09 * healthy_std(tiny.model.dim)
    watching = guard(tiny)
    for step in range(10, 110, 10):
        watching.look(step, {"appearance": low, "speed": healthy})
    with pytest.raises(
        TrainerError, match=r"The appearance embeddings have collapsed.* since step 10.*momentum"
    ):
        watching.look(110, {"appearance": low, "speed": healthy})


def test_a_collapse_that_passes_does_not(tiny):
    healthy = healthy_std(tiny.model.dim)
    watching = guard(tiny)
    for step in range(10, 1000, 10):
        watching.look(step, {"speed": 0.0 if step % 100 else 0.11 * healthy})


def test_it_goes_on_if_told_to(tiny):
    watching = guard(tiny, "objective.collapse_steps=0")
    for step in range(10, 1000, 10):
        watching.look(step, {"speed": 0.0})


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["stem.0.weight", "stem.1.running_var"])
def test_weights_to_start_with_that_are_no_numbers(name, value):
    backbone = make_backbone("r3d-tiny")
    must_be_finite(backbone, Path("w.pth"))
    backbone.state_dict()[name].view(-1)[3:5] = value
    with pytest.raises(TrainerError, match=rf"w\.pth cannot .* 1 of its .* 2 of the \d+ .*{name}"):
        must_be_finite(backbone, Path("w.pth"))
