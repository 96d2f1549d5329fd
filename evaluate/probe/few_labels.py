"""Few labels: logistic regression on a few labelled videos per class, over several draws.

With 8 videos per class, 10 draws and unscaled features, this is the classification protocol of the
MVEB benchmark (arXiv 2606.14958), except that MVEB draws videos, and this draws source recordings.
"""

from dataclasses import dataclass

import numpy as np
import torch

from builder.progress import Progress
from evaluate.probe.linear import LabelledRows, fit_lbfgs
from evaluate.probe.probe import standardised
from evaluate.split import Parts

DRAWS = 10
SEED = 0
C = 1.0  # scikit-learn's default; there are too few labels to choose it
ALL_LABELS = "all"  # column for all drawable labels


@dataclass(frozen=True)
class Amount:
    """How many labelled videos are drawn per class.

    Attributes:
        name: name of its column
        shots: number of videos; 0: given by `percent`
        percent: percentage of the videos of the class
    """

    name: str
    shots: int = 0
    percent: int = 0

    def of(self, videos: int) -> int:
        """Number of videos to draw from a class with `videos` videos; shares are rounded to the
        nearest integer."""
        return self.shots or (self.percent * videos + 50) // 100


SHOTS = tuple(Amount(f"{shots}-shot", shots=shots) for shots in (1, 2, 4, 8, 16))
SHARES = tuple(Amount(f"{percent}%", percent=percent) for percent in (1, 10))
AMOUNTS = (*SHOTS, *SHARES)
COLUMNS = [*(amount.name for amount in AMOUNTS), ALL_LABELS]


@dataclass(frozen=True)
class Pool:
    """The videos from which labels are drawn, and the test videos. They share no recording.

    Attributes:
        train: int64, positions as in `parts`, which has labels and groups
        test: int64, positions of videos whose classes are in `train`
        left_out: sentences about videos that are left out
    """

    parts: Parts
    train: np.ndarray
    test: np.ndarray
    left_out: tuple[str, ...]

    @property
    def sizes(self) -> dict[int, int]:
        """Number of drawable videos by label."""
        labels, counts = np.unique(self.parts.labels[self.train], return_counts=True)
        return dict(zip(labels.tolist(), counts.tolist(), strict=True))

    def amounts(self) -> tuple[list[Amount], list[str]]:
        """The amounts for which every class has enough videos, and sentences about the others."""
        sizes = self.sizes
        if not sizes:
            return [], []
        smallest = min(sizes, key=lambda label: (sizes[label], label))
        least, name = sizes[smallest], self.parts.classes[smallest]
        possible = [a for a in AMOUNTS if 1 <= a.of(least) <= least]
        shots = [a.name for a in SHOTS if a not in possible]
        shares = [a.name for a in SHARES if a not in possible]
        said = []
        if shots:
            said.append(
                f"{', '.join(shots)} left out: class {name} has only {least} drawable videos"
            )
        if shares:
            said.append(
                f"{', '.join(shares)} left out: of the {least} drawable videos of class {name}, "
                "that rounds to none"
            )
        return possible, said


def pool_of(parts: Parts) -> Pool:
    """Training videos of recordings without test videos, and the test videos whose classes these
    have."""
    labels, groups = parts.labels, parts.groups
    train = parts.train[~np.isin(groups[parts.train], groups[parts.test])]
    test = parts.test[np.isin(labels[parts.test], labels[train])]
    said = []
    if siblings := len(parts.train) - len(train):
        said.append(
            f"{siblings} of {len(parts.train)} train videos not drawn: test videos are of their "
            "recordings"
        )
    if without := len(parts.test) - len(test):
        said.append(
            f"{without} of {len(parts.test)} test videos left out: no video of their class can be "
            "drawn"
        )
    return Pool(parts, train, test, tuple(said))


def drawing_orders(pool: Pool, draw: int) -> dict[int, np.ndarray]:
    """For each label, the positions of its videos in the order in which a draw takes them: one
    video of every recording before the second of any. So a draw of 2 videos contains the draw of 1.
    The order depends on SEED, the draw and the class alone."""
    labels, groups = pool.parts.labels, pool.parts.groups
    orders = {}
    for label in pool.sizes:
        dice = np.random.default_rng((SEED, draw, label))
        shuffled = dice.permutation(pool.train[labels[pool.train] == label])
        before = _earlier_of_its_group(groups[shuffled])
        orders[label] = shuffled[np.argsort(before, kind="stable")]
    return orders


def _earlier_of_its_group(groups: np.ndarray) -> np.ndarray:
    """int64: for each video, the number of earlier ones in its group."""
    counts: dict[int, int] = {}
    earlier = np.empty(len(groups), np.int64)
    for i, group in enumerate(groups.tolist()):
        earlier[i] = counts.get(group, 0)
        counts[group] = earlier[i] + 1
    return earlier


def drawn(orders: dict[int, np.ndarray], amount: Amount) -> np.ndarray:
    """int64: positions of the videos of one draw, class by class."""
    return np.concatenate([order[: amount.of(len(order))] for order in orders.values()])


def few_label_accuracy(
    features: np.ndarray, pool: Pool, standardise: bool, device: torch.device, progress: Progress
) -> dict[str, list[float]]:
    """Top-1 accuracy in percent of every draw, by the name of the amount, for the amounts possible
    for every class.

    `features` is float32, with a row for every video of the data set. `standardise` applies the
    mean and standard deviation of the drawn videos. The classifier is scikit-learn's
    LogisticRegression with its defaults, fitted to convergence. `progress` counts fits, and expects
    one more at the end.
    """
    amounts, _ = pool.amounts()
    known = list(pool.sizes)  # every draw has all of these labels
    labels = np.searchsorted(known, pool.parts.labels)
    accuracy: dict[str, list[float]] = {amount.name: [] for amount in amounts}
    fits = DRAWS * len(amounts) + 1  # the last is on all labels
    for draw in range(DRAWS):
        orders = drawing_orders(pool, draw)
        for amount in amounts:
            train = drawn(orders, amount)
            rows = features[train], features[pool.test]
            if standardise:
                rows = standardised(*rows)
            fitted, tested = (
                LabelledRows(x, labels[positions], device)
                for x, positions in zip(rows, (train, pool.test), strict=True)
            )
            # scikit-learn's objective, C * sum of losses + norm^2 / 2, divided by C * videos. Of
            # two classes it has one weight vector, the difference of our two, whose squared norm
            # is twice the sum of theirs.
            halves = 1 if len(known) == 2 else 2
            classify = fit_lbfgs(fitted, len(known), 1 / (halves * C * len(train)))
            accuracy[amount.name].append(tested.share(tested.best(classify, 1)))
            done = sum(map(len, accuracy.values()))
            progress(done, fits, f"draw {draw + 1}, {amount.name}")
    return accuracy
