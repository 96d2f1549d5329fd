"""Linear probe: a linear classifier on stored features, tuned without the test set."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import torch

from builder.progress import Progress, silent
from evaluate.choices import SOLVERS
from evaluate.errors import EvaluateUsageError
from evaluate.probe.linear import ROWS, LabelledRows, Sgd, fit_lbfgs, fit_sgd
from evaluate.retrieval.cosine import CPU

PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
_Group = TypeVar("_Group", int, str)
HELD_OUT = 5  # every fifth source group of the training set is held out to choose the penalty
_WIDEN = 10.0  # factor between penalties beyond the grid
_WIDENED = 6  # penalties beyond the grid at most, on each side


@dataclass(frozen=True)
class ProbeSettings:
    """The settings of a linear probe.

    Attributes:
        standardise: whether each channel is standardised by its mean and standard deviation over
            the train part
        solver: "lbfgs": multinomial logistic regression, fitted to convergence (mean cross-entropy
            + penalty * squared norm of the weights without the bias). "sgd": batch norm and a
            linear layer, as in CoCLR's probe on stored features with --final_bn, which does not
            standardise. The weights of the last epoch are used; CoCLR uses the epoch that is best
            on the test set.
        penalties: for lbfgs, the penalties tried on held-out groups; more are tried while the
            smallest or largest is best
        sgd: settings of the solver "sgd"
    """

    standardise: bool = True
    solver: str = "lbfgs"
    penalties: tuple[float, ...] = PENALTIES
    sgd: Sgd = field(default_factory=Sgd)

    def __post_init__(self) -> None:
        if self.solver not in SOLVERS:
            raise EvaluateUsageError(
                f"The probe has no solver {self.solver!r}; choose from {', '.join(SOLVERS)}."
            )
        if not self.penalties or min(self.penalties) <= 0:
            raise EvaluateUsageError(
                f"The penalties are {self.penalties}. Give one or more, all above 0."
            )


@dataclass(frozen=True)
class LabelledFeatures:
    """Features with the labels and groups of their videos.

    Attributes:
        rows: float32, videos x channels
        labels: integers from 0, videos
        groups: source group of every video
    """

    rows: np.ndarray
    labels: np.ndarray
    groups: Sequence[int]


DEFAULT = ProbeSettings()


@dataclass(frozen=True)
class ProbeResult:
    """The result of a linear probe.

    Attributes:
        top1: percent of the test videos
        top5: the same; None for five classes or fewer
        train_top1: percent of the training videos
        penalty: None for sgd
        penalty_from: "held-out groups", "default" if the train part has too few groups, "" for sgd
        tried: percent of the held-out videos, by penalty
        predictions: int64, test videos: the class with the highest score
    """

    top1: float
    top5: float | None
    train_top1: float
    penalty: float | None
    penalty_from: str
    tried: dict[float, float]
    predictions: np.ndarray

    def numbers(self) -> dict[str, float | str | None]:
        """The numbers for a table or a JSON file."""
        names = ("top1", "top5", "train_top1", "penalty", "penalty_from")
        return {name: getattr(self, name) for name in names}


def linear_probe(
    train: LabelledFeatures,
    test: LabelledFeatures,
    settings: ProbeSettings = DEFAULT,
    device: torch.device = CPU,
    progress: Progress = silent,
) -> ProbeResult:
    """Fit a linear classifier to `train` and classify `test`.

    The penalty of lbfgs is the best one (of equals, the largest) on every fifth source group of the
    training set, which is held out, without classes that the others lack; then the whole training
    set is fitted. Results are the same,
    bit for bit, for the same input, device and number of threads. `progress` counts fits (lbfgs) or
    epochs (sgd).
    """
    rows = train.rows, test.rows
    if settings.standardise:
        rows = standardised(*rows)
    fitted = LabelledRows(rows[0], train.labels, device)
    tested = LabelledRows(rows[1], test.labels, device)
    classes = int(max(train.labels.max(), test.labels.max())) + 1
    tried: dict[float, float] = {}
    penalty: float | None = None
    if settings.solver == "sgd":
        classify, origin = fit_sgd(fitted, classes, settings.sgd, progress), ""
    else:
        held_out = held_out_rows(train.groups)
        is_known = np.isin(train.labels, train.labels[~held_out])
        grid = tuple(sorted(settings.penalties))
        penalty, origin = grid[len(grid) // 2], "default"
        if (held_out & is_known).any():  # else every penalty would be equally bad
            parts = fitted.part(~held_out), fitted.part(held_out & is_known)
            penalty, tried = _choose(*parts, classes, grid, progress)
            origin = "held-out groups"
        classify = fit_lbfgs(fitted, classes, penalty)
        fits = len(tried) + 1
        progress(fits, fits, f"penalty {penalty:g} chosen; refitting on the full training set")
    best = tested.best(classify, min(5, classes))
    return ProbeResult(
        top1=tested.share(best[:, :1]),
        top5=tested.share(best) if classes > 5 else None,
        train_top1=fitted.share(fitted.best(classify, 1)),
        penalty=penalty,
        penalty_from=origin,
        tried=tried,
        predictions=best[:, 0].cpu().numpy(),
    )


def held_out_rows(groups: Sequence[_Group]) -> np.ndarray:
    """bool: whether each row is of every fifth group."""
    order = {group: i for i, group in enumerate(sorted(set(groups)))}
    return np.array([order[group] % HELD_OUT == HELD_OUT - 1 for group in groups])


def standardised(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Float32 copies, standardised by the mean and standard deviation of `train`, which are
    computed in float64."""
    mean = train.mean(axis=0, dtype=np.float64)
    squares = np.zeros(train.shape[1])
    for start in range(0, len(train), ROWS):
        squares += np.square(train[start : start + ROWS] - mean).sum(axis=0)
    std = np.sqrt(squares / len(train)) + 1e-6
    copies = [np.empty(x.shape, np.float32) for x in (train, test)]
    for x, copy in zip((train, test), copies, strict=True):
        for start in range(0, len(x), ROWS):
            copy[start : start + ROWS] = (x[start : start + ROWS] - mean) / std
    return copies[0], copies[1]


def _choose(
    fitted: LabelledRows,
    held_out: LabelledRows,
    classes: int,
    grid: tuple[float, ...],
    progress: Progress,
) -> tuple[float, dict[float, float]]:
    """The best penalty on the held-out rows, and the percentage of them classified correctly by
    each penalty tried: those of the grid, then beyond its best edge for as long as the result is
    strictly better."""
    tried: dict[float, float] = {}

    def attempt(penalty: float, left: int) -> float:
        tried[penalty] = held_out.share(held_out.best(fit_lbfgs(fitted, classes, penalty), 1))
        text = f"penalty {penalty:g}: {tried[penalty]:.1f} % of the held-out videos"
        progress(len(tried), len(tried) + left + 1, text)
        return tried[penalty]

    for left, penalty in zip(range(len(grid) - 1, -1, -1), grid, strict=True):
        attempt(penalty, left)
    best = max(tried, key=lambda p: (tried[p], p))
    for edge, factor in ((grid[0], 1 / _WIDEN), (grid[-1], _WIDEN)):
        for step in range(1, _WIDENED + 1 if best == edge else 0):
            beyond = float(f"{edge * factor**step:g}")  # 1e-05, not 1.0000000000000001e-05
            if attempt(beyond, 0) <= tried[best]:
                break
            best = beyond
    return best, tried
