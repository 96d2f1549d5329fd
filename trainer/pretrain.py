"""The training loop of pre-training."""

import random
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch

from builder.atomic import only_writer
from builder.progress import Progress, silent
from trainer.agreement import all_say
from trainer.config.settings import Config
from trainer.data.batches import training_batches
from trainer.data.clip_reader import ClipBatch
from trainer.data.training_set import TrainingSet
from trainer.distributed import ALONE, Rank, wait_for_all
from trainer.errors import TrainerError
from trainer.execution import backends, prepare
from trainer.method.ascnet import ASCNet
from trainer.method.monitor import (
    bank_numbers,
    embedding_stds,
    loss_numbers,
    neighbour_numbers,
    with_correlation,
)
from trainer.probing import Probing
from trainer.run import checkpoint
from trainer.run.log import TrainingLog
from trainer.run.run_directory import note_launch
from trainer.schedules import total_steps
from trainer.step import Stepper, Taken
from trainer.stop import Stop
from trainer.training_state import TrainingState


def make_model(settings: Config) -> ASCNet:
    """Build the model with random weights that depend on the settings alone."""
    random.seed(settings.seed)
    np.random.seed(settings.seed)
    torch.manual_seed(settings.seed)
    return ASCNet(settings.model, settings.objective)


def train(
    run: Path,
    settings: Config,
    data: TrainingSet,
    device: torch.device,
    progress: Progress = silent,
    rank: Rank = ALONE,
    probing: Probing | None = None,
) -> dict[str, Any]:
    """Train to the last step, starting from the run's newest checkpoint if it has one.

    Returns the last line of the log on rank 0, and {} on the other ranks, which write nothing.
    `probing` adds metrics to the log and does not affect training. A signal to stop takes effect
    after the current step, once a checkpoint is saved. Raises TrainerError if the loss becomes NaN
    or infinite or the embeddings collapse, and BuilderError if another process trains this run.
    """
    with Stop(alone=rank.world == 1) as stop, backends(settings.device, device):
        if rank.number:
            return _loop(*_begin(run, settings, data, device, rank), progress, stop, probing)
        with only_writer(run):
            note_launch(run)
            return _loop(*_begin(run, settings, data, device, rank), progress, stop, probing)


def _begin(
    run: Path, settings: Config, data: TrainingSet, device: torch.device, rank: Rank
) -> tuple[Stepper, int]:
    """Restore or initialise the training state. Returns the stepper and the first step to take."""
    total = total_steps(settings.optim, len(data.videos))
    state = TrainingState(make_model(settings), settings, device)
    first = state.restore(run)
    if len(steps := sorted(set(all_say(first)))) > 1:
        raise TrainerError(
            f"Processes read different checkpoints of {run}, of the steps "
            f"{', '.join(map(str, steps))}. Those with an older one warned of damage: see that all "
            "read the same files, and resume again."
        )
    network = prepare(state.model, settings.device, device)
    return Stepper(run, settings, data, state, network, total, rank, device), first


def _loop(
    stepper: Stepper, first: int, progress: Progress, stop: Stop, probing: Probing | None
) -> dict[str, Any]:
    run, settings, state, rank = stepper.run, stepper.settings, stepper.state, stepper.rank
    total, device = stepper.total, stepper.device
    milestones = checkpoint.milestones(total, settings.milestones)
    batches = training_batches(settings, stepper.data, first, total, rank, device)
    waiting = Waiting(batches, rank.world)
    log = TrainingLog(run, first, total) if rank.number == 0 else None
    done, saved = first, first
    try:
        while done < total:
            asked_to_stop = stop.ask(device)
            if (batch := stop.next_of(waiting)) is None:
                break
            taken = stepper.take(done, chain((batch,), waiting))
            done, text = done + 1, ""
            probed = probing is not None and probing.is_due(done, total)
            if done % settings.log_every == 0 or done == total or probed:
                losses = with_correlation(taken.losses)
                if log is not None:
                    numbers = _numbers(stepper, replace(taken, losses=losses), done - 1)
                    if probing is not None and probed:
                        with log.paused():
                            numbers |= probing.look(state.model.encoder.backbone)
                    text = log.write(done, numbers, waiting.take_count())
            _watch(stepper, taken, done)
            if log is not None:
                progress(done, total, text)
            if done % settings.checkpoint_every == 0 or done in milestones or done == total:
                _save(stepper, done, milestones)
                saved = done
            if asked_to_stop():
                break
        if done < total:
            if done > saved:
                _save(stepper, done, milestones)
            wait_for_all()  # a rank that exits ends the others
            stop.end()
    finally:
        batches.close()
        if log is not None:
            log.close()
    return log.last if log is not None else {}


def _watch(stepper: Stepper, taken: Taken, done: int) -> None:
    """Look for a collapse every `log_every` steps and at the end. (Not with each line of the log:
    lines that are written for a probe must not change when a collapse is noticed.)"""
    settings = stepper.settings
    if done % settings.log_every == 0 or done == stepper.total:
        with_speed = stepper.with_speed(done - 1)
        stds = embedding_stds(taken.joint, settings.objective, with_speed)
        stepper.state.collapse.look(done, stds)


def _numbers(stepper: Stepper, taken: Taken, step: int) -> dict[str, float | None]:
    """Compute the metrics of a step that go into the log."""
    clips_a_step = 2 * stepper.settings.optim.batch
    neighbours = taken.losses.seen.neighbours
    return {
        **loss_numbers(taken.losses, taken.joint),
        **bank_numbers(stepper.state.model.bank),
        **neighbour_numbers(neighbours, taken.videos, stepper.data, clips_a_step),
        "lr": stepper.learning_rate(step),
    }


def _save(stepper: Stepper, step: int, milestones: set[int]) -> None:
    stepper.state.must_be_finite(step)
    if stepper.rank.number == 0:
        checkpoint.save(stepper.run, step, stepper.state.state_dict(), milestones)


class Waiting:
    """An iterator over batches that counts clips and the time spent waiting for them."""

    def __init__(self, batches: Iterator[ClipBatch], world: int = 1) -> None:
        self._batches, self._world = batches, world
        self._clips, self._seconds = 0, 0.0

    def __iter__(self) -> "Waiting":
        return self

    def __next__(self) -> ClipBatch:
        began = time.perf_counter()
        batch = next(self._batches)
        self._seconds += time.perf_counter() - began
        self._clips += len(batch.strides)
        return batch

    def take_count(self) -> tuple[int, float]:
        """Clips of all ranks, and seconds this rank has waited, since the last call."""
        counted = self._clips * self._world, self._seconds
        self._clips, self._seconds = 0, 0.0
        return counted
