import pytest
import torch

from trainer.config import override
from trainer.errors import TrainerError
from trainer.guards import CollapseGuard, EarlyNumber
from trainer.monitor import healthy_std


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
