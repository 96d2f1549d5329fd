"""Pre-training: the loop."""

import random
import time
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch

from builder.atomic import only_writer
from trainer import checkpoint
from trainer.ascnet import ASCNet
from trainer.batches import training_batches
from trainer.clips import ClipBatch
from trainer.config import Config
from trainer.log import Log
from trainer.monitor import embedding_stds, measured
from trainer.network import backends, prepare
from trainer.ranks import ALONE, Rank, wait_for_all
from trainer.run import note_launch
from trainer.state import TrainingState
from trainer.step import Stepper
from trainer.stop import Stop
from trainer.training_set import TrainingSet

Progress = Callable[[int, int, str], None]  # done, total, the numbers in words


def total_steps(settings: Config, videos: int) -> int:
    """Steps of a run: `optim.steps`, or as many as `optim.epochs` passes over the videos take."""
    optim = settings.optim
    return optim.steps or max(1, round(optim.epochs * videos / optim.batch))


def make_model(settings: Config) -> ASCNet:
    """The model before training; the same weights for the same settings."""
    random.seed(settings.seed)
    np.random.seed(settings.seed)
    torch.manual_seed(settings.seed)
    return ASCNet(settings.model, settings.objective)


def train(
    run: Path,
    settings: Config,
    data: TrainingSet,
    device: torch.device,
    progress: Progress = lambda done, total, text: None,
    rank: Rank = ALONE,
) -> dict[str, Any]:
    """Train to the end, from the newest checkpoint if the run has one. The last line of the log
    comes back (from rank 0; the others write nothing). A signal to end is obeyed after the step
    that it comes in, when that is saved. Raises TrainerError if the loss is no number any more or
    the embeddings collapse, and BuilderError if another process trains this run."""
    with Stop(alone=rank.world == 1) as stop, backends(settings.device, device):
        if rank.number:
            return _train(run, settings, data, device, progress, rank, stop)
        with only_writer(run):
            note_launch(run)
            return _train(run, settings, data, device, progress, rank, stop)


def _train(
    run: Path,
    settings: Config,
    data: TrainingSet,
    device: torch.device,
    progress: Progress,
    rank: Rank,
    stop: Stop,
) -> dict[str, Any]:
    total = total_steps(settings, len(data.videos))
    state = TrainingState(make_model(settings), settings, device)
    first = state.restore(run)
    network = prepare(state.model, settings.device, device)
    stepper = Stepper(run, settings, data, state, network, total, rank, device)
    kept = checkpoint.milestones(total, settings.milestones)
    batches = training_batches(settings, data, first, total, rank, device)
    waiting = Waiting(batches, rank.world)
    log = Log(run, first, total) if rank.number == 0 else None
    done, saved = first, first
    try:
        while done < total:
            step, asked_to_stop = done, stop.ask(device)
            if (batch := stop.next_of(waiting)) is None:
                break
            losses, videos = stepper.take(step, chain((batch,), waiting))
            done, text = step + 1, ""
            if done % settings.log_every == 0 or done == total:
                stds = embedding_stds(losses, settings.objective, stepper.with_speed(step))
                if log is not None:
                    clips_a_step = 2 * settings.optim.batch
                    numbers = measured(losses, state.model.bank, videos, data, clips_a_step)
                    numbers["lr"] = stepper.learning_rate(step)
                    text = log.write(done, numbers, waiting.take_count())
                state.collapse.look(done, stds)
            if log is not None:
                progress(done, total, text)
            if done % settings.checkpoint_every == 0 or done in kept or done == total:
                _save(run, done, state, kept, rank)
                saved = done
            if asked_to_stop():
                break
        if done < total:
            if done > saved:
                _save(run, done, state, kept, rank)
            wait_for_all()  # the first to end takes the others with it
            stop.end()
    finally:
        batches.close()
        if log is not None:
            log.close()
    return log.last if log is not None else {}


def _save(run: Path, step: int, state: TrainingState, kept: set[int], rank: Rank) -> None:
    state.must_be_finite(step)
    if rank.number == 0:
        checkpoint.save(run, step, state.state_dict(), kept)


class Waiting:
    """Batches, with the time that was spent waiting for them."""

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
        """Clips on all ranks, and seconds of waiting on this one, since the last call."""
        counted = self._clips * self._world, self._seconds
        self._clips, self._seconds = 0, 0.0
        return counted
