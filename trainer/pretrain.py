"""Pre-training: the loop."""

import math
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from builder.atomic import only_writer
from trainer import checkpoint
from trainer.ascnet import ASCNet, Losses
from trainer.augment import augment
from trainer.clips import ClipReader, pair_requests, read_batches
from trainer.config import Config
from trainer.errors import TrainerError
from trainer.run import Log
from trainer.schedules import scaled_lr, target_momentum, warmup_cosine
from trainer.training_set import TrainingSet

Progress = Callable[[int, int, str], None]  # done, total, the numbers in words


def total_steps(settings: Config, videos: int) -> int:
    """Steps of a run: `optim.steps`, or as many as `optim.epochs` passes over the videos take."""
    optim = settings.optim
    return optim.steps or max(1, round(optim.epochs * videos / optim.batch))


def seed_everything(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def make_model(settings: Config) -> ASCNet:
    """The model before training; the same weights for the same settings."""
    seed_everything(settings.seed)
    return ASCNet(settings.model, settings.objective)


def make_optimiser(model: ASCNet, settings: Config) -> torch.optim.Optimizer:
    """SGD or AdamW; no weight decay on biases and norms."""
    trained = [p for p in model.parameters() if p.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in trained if p.ndim > 1]},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    decay = settings.optim.weight_decay
    if settings.optim.optimiser == "adamw":
        return torch.optim.AdamW(groups, lr=0.0, weight_decay=decay)
    return torch.optim.SGD(groups, lr=0.0, momentum=settings.optim.momentum, weight_decay=decay)


def train(
    run: Path,
    settings: Config,
    data: TrainingSet,
    device: torch.device,
    progress: Progress = lambda done, total, text: None,
) -> dict[str, Any]:
    """Train to the end, from the newest checkpoint if the run has one. The last line of the log
    comes back. Raises TrainerError if the loss is no number any more, and BuilderError if
    another process trains this run."""
    with only_writer(run):
        return _train(run, settings, data, device, progress)


def _train(
    run: Path, settings: Config, data: TrainingSet, device: torch.device, progress: Progress
) -> dict[str, Any]:
    total = total_steps(settings, len(data.videos))
    model = make_model(settings).to(device)
    optimiser = make_optimiser(model, settings)
    first = _restore(run, model, optimiser)
    reader = ClipReader(data.videos, settings.data.short_side)
    groups = torch.tensor(data.groups)
    log = Log(run, settings, first, total)
    batches = read_batches(
        reader,
        pair_requests(
            [v.frames for v in data.videos],
            range(first, total),
            batch=settings.optim.batch,
            clip_length=settings.data.frames,
            strides=settings.data.strides,
            policy=settings.data.short_videos,
            seed=settings.seed,
        ),
        settings.data.workers,
    )
    layout = torch.channels_last_3d
    model.train().to(memory_format=layout)  # type: ignore[call-overload]
    try:
        for step in range(first, total):
            waiting = time.perf_counter()
            batch = next(batches)
            log.waited += time.perf_counter() - waiting

            generator = torch.Generator().manual_seed(_step_seed(settings.seed, step))
            clips = augment(
                batch.frames.to(device),
                batch.sizes,
                settings.augment,
                settings.data.size,
                generator,
            ).contiguous(memory_format=layout)
            losses = model(
                clips,
                batch.strides.to(device),
                batch.videos.to(device),
                groups[batch.videos].to(device),
                with_speed=step >= settings.objective.speed_warmup * total,
            )
            _must_be_finite(losses, step)
            lr = scaled_lr(settings.optim.lr, settings.optim.batch)
            lr *= warmup_cosine(step, total, settings.optim.warmup)
            for group in optimiser.param_groups:
                group["lr"] = lr
            optimiser.zero_grad(set_to_none=True)
            losses.total.backward()
            optimiser.step()
            model.update_target(target_momentum(step, total, settings.objective.momentum))

            done = step + 1
            log.clips += len(batch.strides)
            if done % settings.log_every == 0 or done == total:
                progress(done, total, log.write(done, lr, losses))
            else:
                progress(done, total, "")
            if done % settings.checkpoint_every == 0 or done == total:
                state = {"model": model.state_dict(), "optimiser": optimiser.state_dict()}
                checkpoint.save(run, done, state)
    finally:
        log.close()
    return log.last


def _step_seed(seed: int, step: int) -> int:
    return int(np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)[0] >> 1)


def _restore(run: Path, model: ASCNet, optimiser: torch.optim.Optimizer) -> int:
    """Load the newest checkpoint, if there is one; the step to go on with comes back."""
    if not checkpoint.list_checkpoints(run):
        return 0
    _, state = checkpoint.load_last(run)
    model.load_state_dict(state["model"])
    optimiser.load_state_dict(state["optimiser"])
    return int(state["step"])


def _must_be_finite(losses: Losses, step: int) -> None:
    if not math.isfinite(float(losses.total.detach())):
        raise TrainerError(
            f"The loss is {float(losses.total.detach())} at step {step + 1}. Lower the learning "
            "rate (--set optim.lr=...) or raise the warm-up (--set optim.warmup=0.1) and start a "
            "new run; a resumed one keeps its settings and comes here again."
        )
