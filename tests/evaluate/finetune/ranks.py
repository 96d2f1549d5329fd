"""Train classifiers in one process, or in several together, in float64."""

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from builder.shards.dataset import ShardDataset
from evaluate.errors import EvaluateError
from evaluate.finetune import classifier
from evaluate.finetune.finetune import FinetuneJob, finetune
from evaluate.finetune.trainer import Learner
from tests.toy_task import CPU, changed, part, toy_task
from tests.trainer.ranks import compute_in_doubles
from trainer.data.clip_reader import ClipReader
from trainer.distributed import together
from trainer.errors import TrainerError

BEGUN_BY_ONE, BEGUN_BY_TWO, APART = "begun-by-one", "begun-by-two", "apart"
STEPS_OF_ONE = 3  # steps of the single process before it is killed


def jobs(shards: Path) -> dict[str, FinetuneJob]:
    """Jobs of several kinds. Two units of videos are tested, and less than one is held out."""
    dataset = ShardDataset(shards)
    task = replace(toy_task(dataset), test=part(dataset.videos))
    cut = replace(task, protocol=replace(task.protocol, layer="layer2"))
    probe = {"frozen": True, "optimiser": "adamw", "lr": 0.5}
    return {
        "whole": changed(task, epochs=4.0, dropout=0.5, lr=0.05, choose="holdout"),
        "probe": changed(task, epochs=2.0, dropout=0.5, **probe),
        "cut": changed(cut, epochs=2.0),
    }


def train_alone(shards: Path, out: Path) -> None:
    """Train all jobs, and one of them for some steps only, in BEGUN_BY_ONE."""
    compute_in_doubles()
    tasks = jobs(shards)
    saved = {name: all_that_is_learnt(task, out / f"one-{name}") for name, task in tasks.items()}
    torch.save(saved, out / "one")

    def stop(done: int, total: int, text: str) -> None:
        if done == STEPS_OF_ONE:
            raise KeyboardInterrupt

    try:
        finetune(tasks["whole"], CPU, out / BEGUN_BY_ONE, stop)
    except KeyboardInterrupt:
        return


def go_on_alone(shards: Path, out: Path) -> None:
    compute_in_doubles()
    torch.save(all_that_is_learnt(jobs(shards)["whole"], out / BEGUN_BY_TWO), out / "went-on")


def train_in_ranks(shards: Path, out: Path) -> None:
    """Train all jobs, resume BEGUN_BY_ONE, and fail in all ways. The results are saved to
    `<out>/two.<rank>`, before one rank reads a damaged frame."""
    compute_in_doubles()
    tasks = jobs(shards)
    whole = tasks["whole"]
    with together("cpu") as (rank, _):
        saved = {n: all_that_is_learnt(task, out / f"two-{n}") for n, task in tasks.items()}
        saved[BEGUN_BY_ONE] = all_that_is_learnt(whole, out / BEGUN_BY_ONE)
        synchronise, classifier.synchronise = classifier.synchronise, lambda *of: None
        saved[APART] = all_that_is_learnt(whole, out / APART)
        classifier.synchronise = synchronise
        said = {
            "uneven": said_of(changed(whole, batch=3), out / "uneven"),
            BEGUN_BY_TWO: said_of(whole, out / BEGUN_BY_TWO, after=get_a_signal),
            "loss": said_of(whole, out / "loss", factor=float("nan")),
            "weights": said_of(changed(whole, steps=3), out / "weights", after=spoil_weights),
        }
        torch.save(saved | {"said": said}, out / f"two.{rank.number}")
        if rank.number == 1:
            ClipReader.read = read_a_damaged_frame
        finetune(whole, CPU, out / "damaged")


def all_that_is_learnt(task: FinetuneJob, folder: Path) -> dict[str, Any]:
    """Train a job; return its result, the loss of every step and the weights."""
    take, losses, learners = Learner.take, [], []

    def noted(self: Learner, clips: torch.Tensor, labels: torch.Tensor) -> float:
        losses.append(take(self, clips, labels))
        learners[:] = [self]
        return losses[-1]

    Learner.take = noted
    done = finetune(task, CPU, folder)
    Learner.take = take
    return {
        "losses": losses,
        "weights": learners[0].classifier.learned(),
        "logits": torch.tensor(done.logits),
        **{key: done.result[key] for key in ("epoch", "epochs", "top1", "weights_sha256")},
    }


def nothing(learner: Learner) -> None:
    """Do nothing."""


def said_of(
    task: FinetuneJob,
    folder: Path,
    factor: float = 1.0,
    after: Callable[[Learner], object] = nothing,
) -> str:
    """Train a job; return its error message, or "". `factor` scales the clips of the second rank;
    `after` is called by that rank after the third step."""
    take = Learner.take

    def patched(self: Learner, clips: torch.Tensor, labels: torch.Tensor) -> float:
        is_second = os.environ["RANK"] == "1"
        loss = take(self, clips * factor if is_second else clips, labels)
        if is_second and self.step == 3:
            after(self)
        return loss

    Learner.take = patched
    try:
        finetune(task, CPU, folder)
    except (EvaluateError, KeyboardInterrupt) as error:
        return f"{type(error).__name__} {error}"
    finally:
        Learner.take = take
    return ""


def get_a_signal(learner: Learner) -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def spoil_weights(learner: Learner) -> None:
    learner.classifier.fc.bias.data.fill_(float("inf"))


def read_a_damaged_frame(*arguments: Any) -> None:
    raise TrainerError("This frame is damaged.")
