"""Measure the overhead of the training loop over the bare computation: demo recipe, on the CPU.

bare    forward, backward, optimiser and moving average of the target network, called one after the
        other on augmented clips in memory
given   `trainer.pretrain.train` on the same clips: includes waiting, seeds, schedules, checks, the
        monitor, the log and the progress line
all     `trainer.pretrain.train` unchanged: includes decoding and augmentation, too

Blocks of steps of the three alternate in one process, on the same modules and weights. No
prefetched batches are carried over from one block to the next. Checkpoints are measured separately.
"""

import os
import statistics
import time
from collections.abc import Generator
from contextlib import closing, redirect_stderr
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from ascnet.progress import ProgressBar
from trainer import pretrain
from trainer.config.recipe_file import load_recipe, override
from trainer.data.batches import training_batches
from trainer.data.clip_reader import ClipBatch
from trainer.data.packed_clips import PackedClips
from trainer.data.training_set import TrainingSet, gather, locate
from trainer.method.memory_bank import ClipLabels
from trainer.run import checkpoint
from trainer.run.run_directory import start_run
from trainer.schedules import target_momentum
from trainer.step import Stepper

BLOCK = 20  # steps
WARM_UP = ("all", "given")  # the clips of the first block are kept for "given" and "bare"
GOAL = 0.05


class Turns:
    """Replaces three parts of `train`, so that blocks of steps alternate between the modes."""

    def __init__(self, rounds: int) -> None:
        self.modes = WARM_UP + ("all", "given") * rounds
        self.seconds: dict[str, list[float]] = {"all": [], "given": [], "bare": []}
        self.stepper: Stepper
        self._kept: list[tuple[ClipBatch, torch.Tensor]] = []
        self._augment = Stepper._augmented
        self._began = 0.0

    def batches(
        self, settings: Any, data: Any, first: int, total: int, *rest: Any
    ) -> Generator[ClipBatch, None, None]:
        """Replaces `training_batches`."""
        for start in range(first, total, BLOCK):
            if self.modes[start // BLOCK] == "given":
                yield from (batch for batch, _ in self._kept)
            else:
                with closing(
                    training_batches(settings, data, start, start + BLOCK, *rest)
                ) as batches:
                    yield from batches

    def augmented(self, stepper: Stepper, batch: ClipBatch, number: int) -> torch.Tensor:
        """Replaces `Stepper._augmented`."""
        self.stepper = stepper
        if self.modes[number // BLOCK] == "given":
            return self._kept[number % BLOCK][1]
        clips = self._augment(stepper, batch, number)
        if number < BLOCK:
            bare = replace(batch, clips=PackedClips(torch.empty(0), (), 0))
            self._kept.append((bare, clips))
        return clips

    def progress(self, line: ProgressBar, done: int, total: int, text: str) -> None:
        """Wraps the progress line."""
        line(done, total, text)
        if done % BLOCK:
            return
        block, seconds = done // BLOCK - 1, time.perf_counter() - self._began
        if block >= len(WARM_UP):
            self.seconds[self.modes[block]].append(seconds / BLOCK)
            if self.modes[block] == "given":
                began = time.perf_counter()
                self._bare_block()
                self.seconds["bare"].append((time.perf_counter() - began) / BLOCK)
        self._began = time.perf_counter()

    def _bare_block(self) -> None:
        state, network = self.stepper.state, self.stepper.network
        groups = torch.tensor(self.stepper.data.groups)
        momentum = target_momentum(0, 1, self.stepper.settings.objective.momentum)
        for batch, clips in self._kept:
            state.optimiser.zero_grad(set_to_none=True)
            labels = ClipLabels(batch.strides, batch.videos, groups[batch.videos])
            network(clips, labels).total.backward()
            state.optimiser.step()
            state.model.update_target(momentum)


def bench_step(shards: Path, work: Path, rounds: int) -> None:
    """Run and print the comparison. `work` must be an empty folder."""
    turns = Turns(rounds)
    recipe = override(
        load_recipe("demo"),
        (
            f"optim.steps={BLOCK * len(turns.modes)}",
            "objective.speed_warmup=0.0",  # both losses from the first step on
            "objective.collapse_steps=0",
            "milestones=0",
            "checkpoint_every=1000000",
        ),
    )
    data: TrainingSet = gather(locate([str(shards)], work), recipe.data)
    run = work / "run"
    start_run(run, recipe, data)

    def augmented(stepper: Stepper, batch: ClipBatch, number: int) -> torch.Tensor:
        return turns.augmented(stepper, batch, number)

    with (
        Path(os.devnull).open("w", encoding="utf-8") as nothing,
        redirect_stderr(nothing),
        ProgressBar("training", "steps") as line,
        patch.object(pretrain, "training_batches", turns.batches),
        patch.object(Stepper, "_augmented", augmented),
    ):
        pretrain.train(
            run, recipe, data, torch.device("cpu"), lambda *words: turns.progress(line, *words)
        )
    _report(turns.seconds, rounds)
    _report_checkpoint(turns.stepper, run, statistics.median(turns.seconds["all"]))


def _report(seconds: dict[str, list[float]], rounds: int) -> None:
    print(
        f"A step of the demo recipe, {torch.get_num_threads()} threads, medians of {rounds} rounds "
        f"of {BLOCK} steps"
    )
    words = {
        "bare": "bare: forward, backward, optimiser, target",
        "given": "the loop on the same clips: checks, monitor, log",
        "all": "the loop with decoding and augmentation",
    }
    for mode, text in words.items():
        over = [a / b - 1 for a, b in zip(seconds[mode], seconds["bare"], strict=True)]
        line = f"  {text:<58} {1000 * statistics.median(seconds[mode]):7.1f} ms"
        if mode != "bare":
            line += f"  + {statistics.median(over):.1%} ({min(over):.1%} .. {max(over):.1%})"
        print(line + (f", goal {GOAL:.0%} at most" if mode == "given" else ""))


def _report_checkpoint(stepper: Stepper, run: Path, step: float) -> None:
    every, taken = load_recipe("demo").checkpoint_every, []
    for number in range(5):
        began = time.perf_counter()
        checkpoint.save(run, number, stepper.state.state_dict())
        taken.append(time.perf_counter() - began)
    taken_ms = 1000 * statistics.median(taken)
    share = taken_ms / 1000 / (every * step)
    print(f"  a checkpoint: {taken_ms:.0f} ms, one every {every} steps: + {share:.2%}")
