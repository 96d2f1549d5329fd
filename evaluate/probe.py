"""Linear probe: a linear classifier on stored features, chosen without a look at the test set."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch.nn.functional import cross_entropy

PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # weight of the squared norm
_HELD_OUT = 5  # one in so many source groups of the training set chooses the penalty


def linear_probe(
    train: np.ndarray,
    train_labels: np.ndarray,
    train_groups: Sequence[str],
    test: np.ndarray,
    test_labels: np.ndarray,
    progress: Callable[[int, int, str], None] = lambda done, total, text: None,
) -> dict[str, float | None]:
    """Multinomial logistic regression on standardised features, fitted to convergence (L-BFGS).

    The penalty is the one that does best on every fifth source group of the training set, held
    out; then all of the training set is fitted. Returns top-1 and top-5 in percent (top-5 is None
    for five classes or fewer), the penalty, and top-1 on the training set.
    """
    mean, std = train.mean(axis=0), train.std(axis=0) + 1e-6
    x, x_test = (torch.from_numpy((f - mean) / std).double() for f in (train, test))
    y, y_test = torch.from_numpy(train_labels), torch.from_numpy(test_labels)
    classes = int(max(y.max(), y_test.max())) + 1
    order = {group: i for i, group in enumerate(sorted(set(train_groups)))}
    held_out = torch.tensor([order[group] % _HELD_OUT == _HELD_OUT - 1 for group in train_groups])
    penalty = PENALTIES[len(PENALTIES) // 2]
    fits = len(PENALTIES) + 1
    if held_out.any():
        scores = {}
        for done, p in enumerate(PENALTIES, 1):
            weights = _fit(x[~held_out], y[~held_out], classes, p)
            scores[p] = _top(weights, x[held_out], y[held_out], 1)
            progress(done, fits, f"penalty {p:g}: {scores[p]:.1f} % of the held-out videos")
        penalty = max(scores, key=lambda p: (scores[p], p))
    weights = _fit(x, y, classes, penalty)
    progress(fits, fits, f"penalty {penalty:g}, all of the train part")
    return {
        "top1": _top(weights, x_test, y_test, 1),
        "top5": _top(weights, x_test, y_test, 5) if classes > 5 else None,
        "penalty": penalty,
        "train_top1": _top(weights, x, y, 1),
    }


def _fit(x: torch.Tensor, y: torch.Tensor, classes: int, penalty: float) -> torch.Tensor:
    """Weights and bias, (channels + 1) x classes, float64."""
    weights = torch.zeros(x.shape[1] + 1, classes, dtype=x.dtype, requires_grad=True)
    optimiser = torch.optim.LBFGS([weights], max_iter=300, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        fit = cross_entropy(x @ weights[:-1] + weights[-1], y)
        loss = fit + penalty * weights[:-1].square().sum()
        loss.backward()
        return loss

    optimiser.step(closure)
    return weights.detach()


def _top(weights: torch.Tensor, x: torch.Tensor, y: torch.Tensor, k: int) -> float:
    scores = x @ weights[:-1] + weights[-1]
    best = scores.topk(min(k, scores.shape[1]), dim=1).indices
    return float(100 * (best == y[:, None]).any(dim=1).double().mean())
