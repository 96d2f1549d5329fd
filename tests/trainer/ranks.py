"""Train in several processes together, as torchrun starts them."""

import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tests.processes import start
from trainer import pretrain, step
from trainer.config import recipe_file
from trainer.config.settings import Config
from trainer.data import augment as clip_augmentation
from trainer.data.batches import training_batches
from trainer.data.training_set import gather
from trainer.distributed import together
from trainer.errors import TrainerError
from trainer.execution import prepare
from trainer.step import Stepper
from trainer.training_state import TrainingState


def run_together(
    count: int,
    main: Callable[..., object],
    *arguments: Any,
    cwd: Path,
    ends: tuple[int, ...] = (0, 0),
) -> list[str]:
    """Run `main` in `count` ranks; return the output of each. `ends` are their expected exit
    statuses."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count)}
    ranks = [
        start(main, *arguments, cwd=cwd, RANK=str(rank), LOCAL_RANK=str(rank), **meeting)
        for rank in range(count)
    ]
    ended = [rank.end(timeout=400) for rank in ranks]
    assert tuple(rank.returncode for rank in ended) == ends[:count], ended
    return [f"{rank.stdout}{rank.stderr}".strip() for rank in ended]


def compute_in_doubles() -> None:
    """Compute in float64 from now on, in this process."""
    torch.set_default_dtype(torch.float64)
    torch.Tensor.float = torch.Tensor.double
    for name, constant in list(vars(clip_augmentation).items()):
        if isinstance(constant, torch.Tensor):
            setattr(clip_augmentation, name, constant.double())


def take_three_steps(settings: Config, shards: Path, out: Path) -> None:
    """Train three steps in float64; save losses, gradients and state to `<out>.<rank>`."""
    compute_in_doubles()
    with together("cpu") as (rank, device):
        data = gather({shards: str(shards)}, settings.data)
        state = TrainingState(pretrain.make_model(settings), settings, device)
        network = prepare(state.model, settings.device, device)
        stepper = Stepper(out.parent, settings, data, state, network, 8, rank, device)
        batches = training_batches(settings, data, 0, 8, rank, device)
        seen = []
        for number in range(3):
            losses = stepper.take(number, batches).losses
            seen.append((losses.loss, losses.appearance, losses.speed, losses.with_neighbour))
        gradients = {n: p.grad for n, p in state.model.named_parameters() if p.grad is not None}
        saved = {"gradients": gradients, "state": state.state_dict(), "seen": torch.tensor(seen)}
        torch.save(saved, out.with_name(f"{out.name}.{rank.number}"))


def train_a_run(run: Path, shards: Path, after: Callable[[Stepper], object], spoilt: bool) -> None:
    """Train a run to its end, and print rank and last step. `after` is called by rank 1 after its
    third step; with `spoilt`, its clips are NaN."""
    settings = recipe_file.load(run / "config.toml")
    augment, update = step.augment, Stepper._update
    with together("cpu") as (rank, device):
        data = gather({shards: str(shards)}, settings.data)

        def augmented(*arguments: Any) -> torch.Tensor:
            return augment(*arguments) * (float("nan") if spoilt and rank.number else 1.0)

        def updated(self: Stepper, number: int) -> None:
            update(self, number)
            if rank.number and number == 2:
                after(self)

        step.augment, Stepper._update = augmented, updated
        try:
            last = pretrain.train(run, settings, data, device, rank=rank)
            print(rank.number, last.get("step"))
        except (TrainerError, KeyboardInterrupt) as error:
            print(type(error).__name__, error)


def nothing(stepper: Stepper) -> None:
    """Do nothing."""


def spoil_weights(stepper: Stepper) -> None:
    next(stepper.state.model.parameters()).data.fill_(float("inf"))


def get_a_signal(stepper: Stepper) -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def get_killed(stepper: Stepper) -> None:
    (stepper.run / "killed").touch()
    os.kill(os.getpid(), signal.SIGKILL)


def train_together(
    count: int,
    run: Path,
    shards: Path,
    after: Callable[[Stepper], object] = nothing,
    spoilt: bool = False,
    ends: tuple[int, ...] = (0, 0),
) -> list[str]:
    """Run `train_a_run` in `count` ranks; return the output of each."""
    return run_together(count, train_a_run, run, shards, after, spoilt, cwd=run.parent, ends=ends)


def after_three_steps(count: int, settings: Config, shards: Path, folder: Path) -> list[dict]:
    """Run `take_three_steps` in `count` ranks; return what each saved."""
    folder.mkdir()
    run_together(count, take_three_steps, settings, shards, folder / "state", cwd=folder)
    return [torch.load(folder / f"state.{rank}", weights_only=True) for rank in range(count)]
