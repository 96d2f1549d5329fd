"""A GPU gives the numbers of the CPU: in fp32, with TensorFloat32 off."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.gpu.paths import PATHS, SMALL, Material, Numbers, steps, subject
from tests.gpu.real_gpu import find_gpu
from trainer.backbones.all_backbones import BACKBONES
from trainer.config.recipe_file import load_recipe, override
from trainer.config.settings import Device
from trainer.execution import backends

GPU = find_gpu()
CPU = torch.device("cpu")
# Of numbers that come of a step, or of several: the first differences, of 1e-6, grow in them.
_STEPS = {"training": 5e-3, "experiments": 5e-3, "classifier": 5e-3, "probe": 1e-3}
_HALF = {"training: bf16": 5e-2, "training: fp16": 5e-2, "classifier: fine-tuned in fp16": 5e-2}


@pytest.mark.parametrize("backbone", BACKBONES)
def test_features(backbone: str, page: list[str], all_threads: None) -> None:
    network = subject(backbone).backbone.eval()
    clips = torch.randn(2, 3, 16, 112, 112, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode(), backends(Device(), GPU, benchmark=False):
        expected = network(clips).mean(dim=(2, 3, 4))
        features = network.to(GPU)(clips.to(GPU)).mean(dim=(2, 3, 4)).cpu()
    apart = float((features - expected).abs().max() / expected.abs().max())
    page.append(f"features of {backbone:<14} {apart:.1e} from the CPU's")
    assert apart < 1e-4


@pytest.mark.parametrize("recipe", ["demo", "k400-r3d18", "k400-s3dg"])
def test_losses(recipe: str, material: Material, page: list[str], all_threads: None) -> None:
    """Of the first step, where the bank is empty, and of the third."""
    settings = override(load_recipe(recipe), (*SMALL, "optim.batch=4", "optim.lr=0.001"))
    losses = []
    for device in (CPU, GPU):
        with steps(settings, material, device, 3) as taken:
            losses.append([float(step.losses.loss) for step in taken])
    page.append(f"loss of {recipe:<18} CPU {losses[0][0]:.6f}, GPU {losses[1][0]:.6f}")
    assert losses[1][0] == pytest.approx(losses[0][0], abs=1e-4)
    assert losses[1] == pytest.approx(losses[0], abs=5e-3)


@pytest.mark.parametrize("name", PATHS)
def test_paths(
    name: str, material: Material, tmp_path: Path, page: list[str], all_threads: None
) -> None:
    expected = _taken(name, material, CPU, tmp_path / "cpu")
    numbers = _taken(name, material, GPU, tmp_path / "gpu")
    bound = _HALF.get(name) or _STEPS.get(name.partition(":")[0], 1e-4)
    apart = max(_apart(expected[key], numbers[key]) for key in expected)
    page.append(f"{name:<38} {apart:.1e} from the CPU's, {bound:.0e} at most")
    assert apart <= bound


def _taken(name: str, material: Material, device: torch.device, work: Path) -> Numbers:
    work.mkdir()
    return PATHS[name](material, device, work)


def _apart(one: np.ndarray, other: np.ndarray) -> float:
    """The largest difference, as a share of the largest number. Of whole numbers, such as classes
    and rows: the share that differs."""
    assert one.shape == other.shape and np.array_equal(np.isnan(one), np.isnan(other))
    if one.dtype.kind in "iu":
        return float((one != other).mean())
    apart, largest = np.abs(np.nan_to_num(one - other)), np.nan_to_num(np.abs(one))
    return float(apart.max(initial=0) / largest.max(initial=1e-6))
