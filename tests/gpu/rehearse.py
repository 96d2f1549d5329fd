"""Run every code path that uses a device on a simulated GPU, and print a report.

    python -m tests.gpu.rehearse [WORDS ...]     only paths whose names contain one of the words

It takes a few minutes and needs no GPU; torch may be built for CPUs or for CUDA. A path fails if an
operation mixes devices, or if its numbers differ from the CPU's; pretended_gpu.py says how this is
detected, and what cannot be. At the end of the report are the places where training waited for the
GPU: a step should have at most one.
"""

import sys
import traceback
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from tests.conftest import TINY
from tests.gpu.paths import PATHS, DevicePath, Material, Numbers, make_material, steps
from tests.gpu.pretended_gpu import HOST, WAITS, pretended_gpu
from tests.gpu.real_gpu import ROOT
from trainer.config.recipe_file import load_recipe, override


def rehearse(path: DevicePath, material: Material, work: Path) -> tuple[str, Counter[str]]:
    """Run a path; return what went wrong ("" if nothing), and where it waited for the GPU."""
    expected = _taken(path, material, HOST, work / "cpu")
    WAITS.take()
    try:
        with pretended_gpu() as gpu:
            numbers = _taken(path, material, gpu, work / "gpu")
    except Exception as error:
        return f"{_line(error)}: {_first_line(error)}", WAITS.take()
    wrong = [name for name, value in expected.items() if not _equal(value, numbers[name])]
    return (f"other numbers than on the CPU: {', '.join(wrong)}" if wrong else ""), WAITS.take()


def waits_of_a_step(precision: str, material: Material) -> list[str]:
    """Places where the third step of a training waits for all work of the GPU. Waits for an event,
    as for the loss, do not count."""
    settings = override(load_recipe("demo"), (*TINY, f"device.precision={precision}"))
    with pretended_gpu() as gpu, steps(settings, material, gpu, 3) as taken:
        next(taken), next(taken), WAITS.take()
        next(taken)
        return list(WAITS.take())


def _taken(path: DevicePath, material: Material, device: torch.device, work: Path) -> Numbers:
    work.mkdir(parents=True)
    return path(material, device, work)


def _equal(one: np.ndarray, other: np.ndarray) -> bool:
    return one.shape == other.shape and np.allclose(one, other, 1e-5, 1e-6, equal_nan=True)


def _line(error: BaseException) -> str:
    """The innermost line of the product, or of the path, in an error's traceback."""
    frames = traceback.extract_tb(error.__traceback__)
    inside = [f for f in frames if f.filename.startswith(f"{ROOT}/")]
    ours = [f for f in inside if not f.filename.endswith("pretended_gpu.py")]
    last = (ours or inside)[-1]
    return f"{Path(last.filename).relative_to(ROOT)}:{last.lineno}"


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


def main(words: Sequence[str]) -> None:
    torch.set_num_threads(1)
    chosen = {n: p for n, p in PATHS.items() if not words or any(word in n for word in words)}
    failed = 0
    with TemporaryDirectory() as scratch:
        material = make_material(Path(scratch) / "material")
        for number, (name, path) in enumerate(chosen.items()):
            wrong, waits = rehearse(path, material, Path(scratch) / str(number))
            failed += bool(wrong)
            said = f"FAILED  {wrong}" if wrong else f"ok      waits at {len(waits)} places"
            print(f"{name:<36} {said}", flush=True)
        print(f"\n{len(chosen) - failed} of {len(chosen)} paths went through.")
        for precision in ("fp32", "fp16"):
            places = waits_of_a_step(precision, material)
            failed += len(places) > 1
            print(
                f"A step in {precision} waits for the whole GPU: {', '.join(places) or 'nowhere'}"
            )
    sys.exit(failed > 0)


if __name__ == "__main__":
    main(sys.argv[1:])
