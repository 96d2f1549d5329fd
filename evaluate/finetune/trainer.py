"""Training of a classifier: a step, and the state that determines all following steps."""

import math
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from evaluate.errors import EvaluateError
from evaluate.finetune.classifier import Classifier
from evaluate.finetune.settings import FinetuneSettings
from evaluate.own_encoder import EncoderNetwork
from trainer.config.settings import Device, Optim
from trainer.distributed import sum_over_ranks, world
from trainer.execution import backends, over_ranks, precision
from trainer.method.guards import EarlyNumber
from trainer.optimiser import make_optimiser
from trainer.random_streams import LAYERS, torch_seed
from trainer.run.checkpoint import step_of
from trainer.schedules import warmup_cosine, warmup_drops


def learning_rate(settings: FinetuneSettings, step: int, total: int) -> float:
    """The learning rate of step `step` (from 0) of `total`."""
    if settings.schedule == "steps":
        factor = warmup_drops(step, total, settings.warmup, settings.drops, settings.factor)
    else:
        factor = warmup_cosine(step, total, settings.warmup)
    return settings.lr * factor


class Learner:
    """Classifier, optimiser, gradient scaler and the history of the epochs. It has no state of
    random generators: randomness in a step derives from (seed, step). It is the same on all
    ranks."""

    def __init__(
        self, classifier: Classifier, settings: FinetuneSettings, total: int, device: torch.device
    ) -> None:
        """`total` is the number of steps of the whole training."""
        self.classifier, self.settings, self.total = classifier, settings, total
        # A user's encoder may have parameters that its features do not depend on.
        unused = classifier.is_cut or isinstance(classifier.features.backbone, EncoderNetwork)
        self._network = over_ranks(classifier, device, some_unused=unused)
        self.device, self._how = device, Device(precision=settings.precision)
        optim = Optim(
            optimiser=settings.optimiser,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
        )
        self.optimiser = make_optimiser(classifier, optim)
        self.scaler = torch.amp.GradScaler(device.type, enabled=settings.precision == "fp16")
        self.step = 0  # steps taken
        self._loss_sum, self._loss_steps = 0.0, 0  # of this epoch
        self.epochs: list[dict[str, Any]] = []
        self.best: dict[str, torch.Tensor] | None = None  # weights of the best epoch so far

    def take(self, clips: torch.Tensor, labels: torch.Tensor) -> float:
        """Take one step on N clips (N x 3 x T x S x S) with their labels (int64, N), the equal
        share of this rank. Returns the loss over all ranks. Raises EvaluateError on all ranks if
        the loss is NaN or infinite, before it reaches the weights."""
        self.classifier.train()
        torch.manual_seed(torch_seed(self.settings.seed, self.step, LAYERS))
        self.optimiser.zero_grad(set_to_none=True)
        loss = cross_entropy(self.logits(clips), labels)
        early = EarlyNumber(sum_over_ranks(loss.detach()) / world())
        self.scaler.scale(loss).backward()
        number = early.read()
        if not math.isfinite(number):
            raise self._no_number(f"The loss is {number} at step {self.step + 1}")
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.settings, self.step, self.total)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.step += 1
        self._loss_sum += number
        self._loss_steps += 1
        return number

    def mean_loss(self) -> float:
        """Mean loss of this epoch's steps, of which there must be at least one."""
        return self._loss_sum / self._loss_steps

    def logits(self, clips: torch.Tensor) -> torch.Tensor:
        """float32, N x classes, in training or evaluation mode, whichever the classifier is in."""
        network = self._network if self.classifier.training else self.classifier
        with precision(self._how, self.device):
            logits: torch.Tensor = network(clips)
        return logits

    def multiplying(self, benchmark: bool | None = None) -> AbstractContextManager[None]:
        """A context with the numerical settings for training or testing (trainer/execution.py)."""
        return backends(self._how, self.device, benchmark)

    def end_epoch(self, epoch: int, held_out_top1: float | None) -> None:
        """Record the results of an epoch: its mean loss and, with held-out groups, the percentage
        of their videos that are classified correctly. Of equally good epochs, the later one is the
        best. Raises EvaluateError on all ranks if weights are NaN or infinite on any of them, as
        gradients can overflow under a finite loss."""
        is_wrong = not all(bool(p.isfinite().all()) for p in self.classifier.parameters())
        if sum_over_ranks(torch.tensor(float(is_wrong), device=self.device)) > 0:
            raise self._no_number(f"Weights are NaN or infinite after step {self.step}")
        before = [line["held_out_top1"] for line in self.epochs]
        loss = self.mean_loss()
        self.epochs.append(
            {"epoch": epoch, "steps": self.step, "loss": loss, "held_out_top1": held_out_top1}
        )
        self._loss_sum, self._loss_steps = 0.0, 0
        if held_out_top1 is not None and held_out_top1 >= max(before, default=0.0):
            self.best = self.classifier.learned()

    def chosen(self) -> dict[str, Any]:
        """The epoch to test: the best one if groups are held out, otherwise the last."""
        if self.best is None:
            return self.epochs[-1]
        return max(self.epochs, key=lambda line: (line["held_out_top1"], line["epoch"]))

    def state_dict(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "learned": self.classifier.learned(),
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
            "loss": (self._loss_sum, self._loss_steps),
            "epochs": self.epochs,
            "best": self.best,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.classifier.load(state["learned"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.scaler.load_state_dict(state["scaler"])
        self.step, self.epochs, self.best = step_of(state), list(state["epochs"]), state["best"]
        self._loss_sum, self._loss_steps = state.get(
            "loss", (0.0, 0)
        )  # earlier versions saved only at the end of an epoch

    def _no_number(self, what: str) -> EvaluateError:
        return EvaluateError(
            f"{what} of the classifier's training. Lower the learning rate (--set "
            f"classifier.lr=..., now {self.settings.lr:g}) or raise the warm-up (--set "
            f"classifier.warmup=..., now {self.settings.warmup:g}), and start again with "
            "--overwrite."
        )
