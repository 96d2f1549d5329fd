"""Linear classifiers on feature vectors, and their two solvers."""

from __future__ import annotations

import logging
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from builder.progress import Progress
from evaluate.errors import EvaluateError
from trainer.float32 import float32_products

log = logging.getLogger(__name__)

ROWS = 8192  # processed at a time in float64, or with scores of all classes
_ITERATIONS = 1000  # of L-BFGS at most; it stops at convergence
_FLAT = 1e-5  # largest derivative of a fit that has converged; most reach 1e-7

LinearClassifier = Callable[[torch.Tensor], torch.Tensor]  # rows x C to scores, rows x classes


@dataclass(frozen=True)
class Sgd:
    """CoCLR's training of a classifier on stored features (github.com/TengdaHan/CoCLR,
    eval/feature_linear_probe.py): momentum 0.9; the learning rate is divided by 10 after each of
    the drops, which are shares of the epochs.

    Attributes:
        seed: seed of the initial weights and the order
    """

    epochs: int = 100
    lr: float = 1.0
    batch: int = 1024
    drops: tuple[float, ...] = (0.6, 0.8)
    weight_decay: float = 1e-3
    seed: int = 0


class LabelledRows:
    """Float32 rows with labels (integers from 0) on a device. Parts share the rows."""

    def __init__(self, x: np.ndarray, labels: np.ndarray, device: torch.device) -> None:
        self._rows = torch.from_numpy(np.require(x, np.float32, ["C", "W"])).to(device)
        self._labels = torch.from_numpy(labels.astype(np.int64)).to(device)
        self._positions = torch.arange(len(x), device=device)

    def part(self, chosen: np.ndarray) -> LabelledRows:
        """The rows for which `chosen` (bool) is true."""
        part = copy(self)
        part._positions = self._positions[torch.from_numpy(chosen).to(self.device)]
        return part

    def __len__(self) -> int:
        return len(self._positions)

    @property
    def device(self) -> torch.device:
        return self._rows.device

    @property
    def channels(self) -> int:
        return self._rows.shape[1]

    def take(self, some: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Rows and labels at these positions."""
        positions = self._positions[some]
        return self._rows[positions], self._labels[positions]

    def blocks(self) -> list[torch.Tensor]:
        """Positions of all rows for `take`, in blocks of ROWS."""
        return list(torch.arange(len(self), device=self.device).split(ROWS))

    def best(self, classify: LinearClassifier, k: int) -> torch.Tensor:
        """int64, rows x k: the classes with the highest scores, best first. Raises EvaluateError if
        scores are NaN or infinite."""
        classes = []
        for some in self.blocks():
            rows = self.take(some)[0]
            scores = classify(rows)
            if not bool(scores.isfinite().all()):
                raise EvaluateError(
                    "The scores of the linear classifier are NaN or infinite: features as large as "
                    f"{float(rows.abs().max()):.2g} overflow during fitting. Omit --raw, so that "
                    "they are standardised, or use features of other weights."
                )
            classes.append(scores.topk(k, dim=1).indices)
        return torch.cat(classes)

    def share(self, best: torch.Tensor) -> float:
        """Percentage of the rows whose class is among `best`."""
        hits = (best == self._labels[self._positions][:, None]).any(dim=1)
        return float(100 * hits.double().mean())


@cache
def _say_unconverged() -> None:
    """Once in a process: draws and penalties are many."""
    log.warning(
        "Careful: a logistic regression had not converged after %d iterations, so its figure may "
        "be lower than it could be. Channels of very different scales do that: omit --raw.",
        _ITERATIONS,
    )


def fit_lbfgs(data: LabelledRows, classes: int, penalty: float) -> LinearClassifier:
    """Multinomial logistic regression in float64. Minimises mean cross-entropy + `penalty` *
    squared norm of the weights without the bias."""
    weights = torch.zeros(
        data.channels + 1, classes, dtype=torch.float64, device=data.device, requires_grad=True
    )
    optimiser = torch.optim.LBFGS(
        [weights],
        max_iter=_ITERATIONS,
        tolerance_grad=1e-8,  # torch's defaults, 1e-7 and 1e-9, leave errors of 1e-4 in the weights
        tolerance_change=1e-12,
        line_search_fn="strong_wolfe",
    )

    @torch.no_grad()
    def closure() -> torch.Tensor:
        """Loss and gradient in blocks of rows, so that memory does not grow with their number."""
        loss = penalty * weights[:-1].square().sum()
        gradient = torch.zeros_like(weights)
        gradient[:-1] = 2 * penalty * weights[:-1]
        for some in data.blocks():
            x, y = data.take(some)
            x = x.double()
            log = torch.log_softmax(x @ weights[:-1] + weights[-1], dim=1)
            loss -= log.gather(1, y[:, None]).sum() / len(data)
            error = log.exp_()
            error[torch.arange(len(y), device=y.device), y] -= 1
            error /= len(data)
            gradient[:-1] += x.T @ error
            gradient[-1] += error.sum(dim=0)
        weights.grad = gradient
        return loss

    optimiser.step(closure)
    assert weights.grad is not None
    if float(weights.grad.abs().max()) > _FLAT:
        _say_unconverged()
    fitted = weights.detach()
    return lambda x: x.double() @ fitted[:-1] + fitted[-1]


def fit_sgd(
    data: LabelledRows, classes: int, settings: Sgd, progress: Progress
) -> LinearClassifier:
    """Batch norm and a linear layer in float32, trained on shuffled batches. Raises EvaluateError
    for fewer than two rows."""
    if len(data) < 2:
        raise EvaluateError(
            f"The sgd probe has {len(data)} training videos, but batch norm needs at least 2. Use "
            "--probe lbfgs, or more videos."
        )
    dice = torch.Generator().manual_seed(settings.seed)
    linear = nn.utils.skip_init(nn.Linear, data.channels, classes)
    nn.init.normal_(linear.weight, std=0.01, generator=dice)
    nn.init.zeros_(linear.bias)
    model = nn.Sequential(nn.BatchNorm1d(data.channels), linear).to(data.device)
    optimiser = torch.optim.SGD(
        model.parameters(), lr=settings.lr, momentum=0.9, weight_decay=settings.weight_decay
    )
    with float32_products():
        for epoch in range(settings.epochs):
            passed = sum(epoch >= drop * settings.epochs for drop in settings.drops)
            optimiser.param_groups[0]["lr"] = settings.lr * 0.1**passed
            loss = torch.zeros((), device=data.device)
            for some in _batches(torch.randperm(len(data), generator=dice), settings.batch):
                x, y = data.take(some.to(data.device))
                optimiser.zero_grad(set_to_none=True)
                loss = cross_entropy(model(x), y)
                loss.backward()
                optimiser.step()
            progress(epoch + 1, settings.epochs, f"loss {float(loss.detach()):.3f}")
    model.eval()

    @torch.no_grad()
    def classify(x: torch.Tensor) -> torch.Tensor:
        with float32_products():
            scores: torch.Tensor = model(x)
        return scores

    return classify


def _batches(order: torch.Tensor, size: int) -> list[torch.Tensor]:
    """Split the order into batches. A last batch of one row joins the one before, as batch norm
    needs two."""
    batches = list(order.split(max(2, size)))
    if len(batches[-1]) == 1:
        batches[-2:] = [torch.cat(batches[-2:])]
    return batches
