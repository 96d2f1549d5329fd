"""The instrument of `rehearse.py`: what a GPU refuses, and what makes a program wait for it."""

from collections.abc import Callable

import pytest
import torch

from experiments import peer_training
from experiments.hand_crafted import colours
from tests.conftest import TINY
from tests.gpu.paths import Material, peer, steps
from tests.gpu.pretended_gpu import WAITS, MixedDevicesError, OnGpu, pretended_gpu
from trainer import step
from trainer.config.recipe_file import load_recipe, override
from trainer.execution import precision
from trainer.method.guards import EarlyNumber

MIXED: dict[str, Callable[[torch.Tensor, torch.Tensor], object]] = {
    "sum": lambda gpu, cpu: gpu + cpu,
    "product of matrices": lambda gpu, cpu: gpu @ cpu,
    "mask": lambda gpu, cpu: gpu.masked_fill(cpu > 0, 0),
    "rows put together": lambda gpu, cpu: torch.cat([gpu, cpu]),
    "choice": lambda gpu, cpu: torch.where(cpu > 0, gpu, gpu),
    "rows of the CPU by an index on the GPU": lambda gpu, cpu: cpu[gpu[0] > 0],
    "a value put among others": lambda gpu, cpu: gpu.index_put_((gpu > 0,), cpu[0, :1]),
    "a layer": lambda gpu, cpu: torch.nn.Linear(4, 4)(gpu),
}


@pytest.mark.parametrize("name", MIXED)
def test_a_mix_of_devices_is_refused(name: str) -> None:
    with pretended_gpu() as gpu:
        rows, others = torch.ones(4, 4, device=gpu), torch.ones(4, 4)
        with pytest.raises(MixedDevicesError, match=r"of .*(cuda, cpu|cpu, cuda)"):
            MIXED[name](rows, others)


def test_what_a_gpu_does_is_done() -> None:
    """With the CPU's numbers: gradients, numbers of the host, changes in place."""
    weights = torch.arange(12.0).reshape(4, 3)
    layer = torch.nn.Linear(3, 2)
    layer(weights).square().mean().backward()
    expected = layer.weight.grad
    layer.zero_grad()
    with pretended_gpu() as gpu:
        layer.to(gpu)
        rows = weights.to(gpu)
        rows *= torch.tensor(1.0)  # a number may be anywhere
        layer(rows).square().mean().backward()
        assert isinstance(layer.weight.grad, OnGpu) and layer.weight.grad.device == gpu
        assert torch.equal(layer.weight.grad.cpu(), expected)
        rows[torch.tensor([0, 1])] = 0.0
        assert rows[:2].tolist() == [[0.0] * 3] * 2 and float(rows[3, 2]) == 11.0
        with pytest.raises(RuntimeError, match="numpy"):
            rows.numpy()


def test_what_waits_is_noted_with_its_line() -> None:
    settings = override(load_recipe("demo"), ("device.precision=bf16",)).device
    with pretended_gpu() as gpu:
        WAITS.take()
        EarlyNumber(torch.ones((), device=gpu)).read()  # by an event
        with precision(settings, gpu):
            assert (torch.ones(2, 2, device=gpu) @ torch.ones(2, 2, device=gpu)).dtype.itemsize == 2
        assert not WAITS.take()
        colours(torch.ones(1, 3, 2, 4, 4, device=gpu))
        (place,) = WAITS.take()
        assert place.startswith("experiments/hand_crafted.py:") and place.endswith("to the GPU")


def test_labels_that_stay_on_the_cpu_are_seen(
    dataset, training_set, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the product's own loops."""
    material = Material(dataset, training_set)
    with pretended_gpu() as gpu:
        peer("supervised", material, gpu, tmp_path)
        monkeypatch.setattr(peer_training, "send", lambda values, device: values)
        with pytest.raises(MixedDevicesError):
            peer("supervised", material, gpu, tmp_path)
        monkeypatch.setattr(step, "send", lambda values, device: values)
        with (
            pytest.raises(MixedDevicesError),
            steps(override(load_recipe("demo"), TINY), material, gpu, 1) as taken,
        ):
            next(taken)
