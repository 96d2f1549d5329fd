"""`make bench-gpu`: measure training steps on a GPU, by backbone and precision.

The steps are those of training: clips of real shards, decoded by threads, copied to the GPU and
augmented there; forward, backward, optimiser, target network. The list of videos is repeated, so
that no entry is drawn twice. Warm-up steps (with compilation), the monitor, the log and checkpoints
are not included. If a batch does not fit, half of it is tried. `--device cpu --tiny` runs the same
code without a GPU.
"""

import argparse
import gc
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from benchmarks.gpu_table import Row, Setting, table
from builder.cores import usable_cores
from builder.errors import BuilderError
from trainer.config.recipe_file import load_recipe, override
from trainer.config.settings import Config
from trainer.data.batches import training_batches
from trainer.data.training_set import TrainingSet, gather, locate
from trainer.distributed import ALONE
from trainer.errors import TrainerError
from trainer.execution import backends, prepare
from trainer.pretrain import Waiting, make_model
from trainer.step import Stepper
from trainer.training_state import TrainingState

PRECISIONS = ("fp32", "tf32", "bf16", "fp16", "bf16+compile")
AHEAD = 6  # batches that are still being loaded when the last step ends, as in training


def _at_its_own_size(recipe: str) -> Setting:
    config = load_recipe(recipe)
    data = config.data
    return Setting(recipe, config.model.backbone, data.frames, data.size, config.optim.batch)


SETTINGS = {
    setting.backbone: setting for setting in map(_at_its_own_size, ("k400-r3d18", "k400-s3dg"))
}
# 20 frames: if layers reduce them to 2, torch's bf16 convolution gradients are wrong on CPUs.
TINY = {"r3d-tiny": Setting("demo", "r3d-tiny", 20, 32, 4)}


@dataclass(frozen=True)
class How:
    device: torch.device
    steps: range  # measured steps; those before them warm up
    assignments: tuple[str, ...] = ()  # settings to change, such as "data.workers=4"
    cudnn_benchmark: bool | None = None  # None: as in training


def settings_of(
    setting: Setting, precision: str, batch: int, steps: int, assignments: Sequence[str]
) -> Config:
    kind, _, compiled = precision.partition("+")
    return override(
        load_recipe(setting.recipe),
        (
            f"model.backbone={setting.backbone}",
            f"data.frames={setting.frames}",
            f"data.size={setting.size}",
            f"optim.batch={batch}",
            f"optim.steps={steps}",
            f"device.precision={kind}",
            f"device.compile={str(compiled == 'compile').lower()}",
            "objective.speed_warmup=0.0",  # both losses from the first step on
            "optim.lr=0.001",  # a short run has hardly any warm-up, and should not diverge
            *assignments,
        ),
    )


def repeated(data: TrainingSet, videos: int) -> TrainingSet:
    """Repeat the videos of a data set until there are at least `videos`."""
    times = -(-videos // len(data.videos))
    return replace(
        data,
        videos=data.videos * times,
        timings=data.timings * times,
        groups=data.groups * times,
        labels=data.labels * times,
    )


def measure(setting: Setting, precision: str, batch: int, data: TrainingSet, how: How) -> Row:
    """Measure one setting and precision. Raises torch.OutOfMemoryError if the batch does not
    fit."""
    device, steps = how.device, how.steps
    total = steps.stop + AHEAD
    config = settings_of(setting, precision, batch, total, how.assignments)
    data = repeated(data, total * batch)
    torch.compiler.reset()
    gc.collect()  # frees what is left of the previous row
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    state = TrainingState(make_model(config), config, device)
    network = prepare(state.model, config.device, device)
    with (
        backends(config.device, device, how.cudnn_benchmark),
        TemporaryDirectory() as run,
        closing(training_batches(config, data, 0, total, ALONE, device)) as batches,
    ):
        stepper = Stepper(Path(run), config, data, state, network, total, ALONE, device)
        waiting = Waiting(batches)
        for step in range(steps.start):
            stepper.take(step, waiting)
        wait_for(device)
        waiting.take_count()
        began = time.perf_counter()
        for step in steps:
            stepper.take(step, waiting)
        wait_for(device)
        seconds = time.perf_counter() - began
    _, waited = waiting.take_count()
    memory = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
    return Row(setting, precision, batch, len(steps) * batch / seconds, waited / seconds, memory)


def wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measure_what_fits(
    setting: Setting, precision: str, batch: int, data: TrainingSet, how: How
) -> Row:
    """Measure with `batch` videos, or the largest half, quarter, ... of them that fits."""
    note = "out of memory"
    while batch >= 2:
        try:
            return measure(setting, precision, batch, data, how)
        except torch.OutOfMemoryError:
            batch //= 2
        except (RuntimeError, TrainerError) as error:  # no compiler, or a non-finite loss
            note = str(error).strip().partition("\n")[0].partition(". ")[0]
            break
    return Row(setting, precision, batch, 0.0, 0.0, None, note)


def main(arguments: Sequence[str] | None = None) -> list[Row]:
    parser = argparse.ArgumentParser("python -m benchmarks.gpu")
    parser.add_argument("--shards", nargs="+", default=["shards"])
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="a small network on small clips")
    parser.add_argument("--backbones", nargs="+", help=f"of {', '.join(SETTINGS)}")
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS)
    parser.add_argument("--batch", type=int, help="videos a step")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--warm-up", type=int, default=8, help="steps before those")
    parser.add_argument("--set", nargs="+", default=(), metavar="KEY=VALUE", dest="assignments")
    parser.add_argument(
        "--cudnn-benchmark", action=argparse.BooleanOptionalAction, help="else as in training"
    )
    options = parser.parse_args(arguments)
    if options.device == "cuda" and not torch.cuda.is_available():
        sys.exit(
            "There is no GPU that torch can use here; --device cpu --tiny runs the same on a CPU."
        )
    known = TINY if options.tiny else SETTINGS
    if unknown := set(options.backbones or ()) - set(known):
        parser.error(f"no {', '.join(unknown)} here; there is {', '.join(known)}")
    precisions = options.precisions or (PRECISIONS[:3] if options.tiny else PRECISIONS)
    at = range(options.warm_up, options.warm_up + options.steps)
    device, rows = torch.device(options.device), []
    how = How(device, at, tuple(options.assignments), options.cudnn_benchmark)
    with TemporaryDirectory() as scratch:
        try:
            data = gather(locate(options.shards, Path(scratch)), load_recipe("k400-r3d18").data)
        except (BuilderError, TrainerError) as error:
            sys.exit(str(error))
        where = torch.cuda.get_device_name() if options.device == "cuda" else "CPU"
        print(
            f"{where}, torch {torch.__version__}, {usable_cores()} cores decode; "
            f"{len(data.videos)} videos; {len(at)} steps after {at.start}"
        )
        for name in options.backbones or known:
            batch = options.batch or known[name].batch
            for precision in precisions:
                rows.append(measure_what_fits(known[name], precision, batch, data, how))
                batch = rows[-1].batch if rows[-1].pairs else batch
                print(table(rows).rpartition("\n")[2], flush=True)
    print(f"\n{table(rows)}")
    return rows


if __name__ == "__main__":
    main()
