"""Steps of training on a GPU: they wait for it once at most, and settings do what they say."""

import math
import signal
import time
from pathlib import Path

import pytest
import torch

from tests.conftest import TINY
from tests.gpu.paths import Material, steps
from tests.gpu.real_gpu import find_gpu, waits
from trainer.config.recipe_file import load_recipe, override
from trainer.config.settings import Device
from trainer.execution import AUTOCAST, backends
from trainer.pretrain import train
from trainer.run.checkpoint import load_last
from trainer.run.run_directory import start_run

GPU = find_gpu()
STEPS, WARM_UP = 20, 4
_R3D18 = (
    *("model.backbone=r3d18", "model.hidden=512", "data.frames=16", "data.size=112"),
    *("objective.bank=512", "objective.speed_warmup=0", "optim.batch=8", "optim.lr=0.01"),
)


@pytest.mark.parametrize("how", ["fp32", "tf32", "bf16", "fp16", "bf16, compiled"])
def test_a_step_waits_once_at_most(how: str, material: Material, page: list[str]) -> None:
    kind, _, compiled = how.partition(", ")
    device = (f"device.precision={kind}", f"device.compile={str(bool(compiled)).lower()}")
    settings = override(load_recipe("demo"), (*_R3D18, *device))
    torch.compiler.reset()
    per_step, losses = [], []
    with steps(settings, material, GPU, WARM_UP + STEPS) as taken:
        for _ in range(WARM_UP):
            next(taken)
        began = time.perf_counter()
        for _ in range(STEPS):
            with waits() as places:
                losses.append(next(taken).losses.loss)
            per_step.append(places)
        first, last = float(losses[0]), float(losses[-1])
        seconds = time.perf_counter() - began
    named = sorted(set().union(*per_step)) or ["nowhere"]
    page.append(
        f"{STEPS} steps in {how:<15} {STEPS / seconds:5.1f} a second, loss {first:.3f} to "
        f"{last:.3f}, waits at {', '.join(named)}"
    )
    assert math.isfinite(last)
    assert max(places.total() for places in per_step) <= 1


def test_a_stopped_run_goes_on(material: Material, tmp_path: Path, page: list[str]) -> None:
    """On the GPU, and from its checkpoint on the CPU."""
    settings = override(load_recipe("demo"), (*TINY, "optim.steps=6", "checkpoint_every=100"))
    lines = {}
    for name, stops, ends_on in (("whole", 0, GPU), ("gpu", 3, GPU), ("cpu", 3, "cpu")):
        run = tmp_path / name
        start_run(run, settings, material.training)
        if stops:
            with pytest.raises(KeyboardInterrupt):
                train(run, settings, material.training, GPU, Stopping(stops))
            assert load_last(run)[1]["step"] == stops
        lines[name] = train(run, settings, material.training, torch.device(ends_on))
    losses = {name: line["loss"] for name, line in lines.items()}
    page.append("stopped and resumed: " + ", ".join(f"{k} {v:.5f}" for k, v in losses.items()))
    assert losses["gpu"] == pytest.approx(losses["whole"], abs=1e-3)
    assert losses["cpu"] == pytest.approx(losses["whole"], abs=1e-3)


class Stopping:
    """Ctrl-C after a step."""

    def __init__(self, after: int) -> None:
        self._after = after

    def __call__(self, done: int, total: int, text: str) -> None:
        if done == self._after:
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("kind", ["fp32", "tf32"])
def test_tf32_is_of_convolutions(kind: str, page: list[str]) -> None:
    dice = torch.Generator().manual_seed(0)
    clips = torch.randn(2, 32, 8, 28, 28, generator=dice)
    weights = torch.randn(64, 32, 3, 3, 3, generator=dice)
    rows = torch.randn(256, 256, generator=dice)
    exact = torch.conv3d(clips.double(), weights.double()), rows.double() @ rows.double()
    with backends(Device(precision=kind), GPU):
        computed = torch.conv3d(clips.to(GPU), weights.to(GPU)), rows.to(GPU) @ rows.to(GPU)
        apart = [
            float((a.cpu() - b).abs().max() / b.abs().max())
            for a, b in zip(computed, exact, strict=True)
        ]
    page.append(f"{kind}: convolution {apart[0]:.0e} from the exact one, product {apart[1]:.0e}")
    assert apart[1] < 1e-5
    assert (apart[0] > 3e-5) is (kind == "tf32")


@pytest.mark.parametrize("kind", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("channels_last", [True, False])
def test_precision_and_layout(kind: str, channels_last: bool, material: Material) -> None:
    device = (f"device.precision={kind}", f"device.channels_last={str(channels_last).lower()}")
    settings = override(load_recipe("demo"), (*TINY, *device))
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []  # what convolutions are given, and give
    with steps(settings, material, GPU, 1) as taken:
        hook = torch.nn.modules.module.register_module_forward_hook(
            lambda module, given, out: (
                seen.append((given[0], out)) if type(module) is torch.nn.Conv3d else None
            )
        )
        try:
            features = next(taken).losses.seen.features
        finally:
            hook.remove()
    assert {out.dtype for _, out in seen} == {AUTOCAST.get(kind, torch.float32)}
    layout = torch.channels_last_3d if channels_last else torch.contiguous_format
    assert seen[0][0].is_contiguous(memory_format=layout)
    assert {values.device.type for pair in seen for values in pair} == {GPU.type}
    assert features.device.type == GPU.type


def test_compile_compiles(material: Material) -> None:
    """And says the same."""
    losses = []
    for compiled in ("false", "true"):
        settings = override(load_recipe("demo"), (*TINY, f"device.compile={compiled}"))
        torch.compiler.reset()
        torch._dynamo.utils.counters.clear()
        with steps(settings, material, GPU, 1) as taken:
            losses.append(float(next(taken).losses.loss))
        assert bool(torch._dynamo.utils.counters["frames"]["ok"]) is (compiled == "true")
    assert losses[1] == pytest.approx(losses[0], abs=1e-4)


@pytest.mark.parametrize("asked", [None, True, False])
def test_cudnn_tries_its_algorithms_as_it_is_told(asked: bool | None) -> None:
    with backends(Device(), GPU, asked):
        assert torch.backends.cudnn.benchmark is (GPU.type == "cuda" if asked is None else asked)
