"""Few labels: logistic regression on a few labelled videos of every class, drawn several times.

With 8 videos a class, 10 draws and features as they are, it is the protocol by which the MVEB
benchmark measures classification (arXiv 2606.14958), but for the draws: those are of videos there,
and of source recordings here.
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
C = 1.0  # scikit-learn's default; few labels leave none to choose it by
ALL_LABELS = "all"  # the column of all labels that can be drawn


@dataclass(frozen=True)
class Amount:
    """How many labelled videos are drawn of a class.

    Attributes:
        name: of its column
        shots: videos; 0: `percent` of the videos of the class instead
    """

    name: str
    shots: int = 0
    percent: int = 0

    def of(self, videos: int) -> int:
        """Videos to draw of a class that has so many, a share rounded to the nearest."""
        return self.shots or (self.percent * videos + 50) // 100


SHOTS = tuple(Amount(f"{shots}-shot", shots=shots) for shots in (1, 2, 4, 8, 16))
SHARES = tuple(Amount(f"{percent}%", percent=percent) for percent in (1, 10))
AMOUNTS = (*SHOTS, *SHARES)
COLUMNS = [*(amount.name for amount in AMOUNTS), ALL_LABELS]


@dataclass(frozen=True)
class Pool:
    """The videos that labels are drawn from, and those that are tested: no recording is in both.

    Attributes:
        train: int64, positions as in `Parts`, which has labels and groups
        test: int64, positions, of classes that are in `train`
        left_out: sentences about what is in no figure
    """

    parts: Parts
    train: np.ndarray
    test: np.ndarray
    left_out: tuple[str, ...]

    @property
    def sizes(self) -> dict[int, int]:
        """Videos to draw from, by label."""
        labels, counts = np.unique(self.parts.labels[self.train], return_counts=True)
        return dict(zip(labels.tolist(), counts.tolist(), strict=True))

    def amounts(self) -> tuple[list[Amount], list[str]]:
        """The amounts that every class can give, and a sentence about each kind of the others."""
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
            said.append(f"{', '.join(shots)} left out: class {name} has {least} to draw from")
        if shares:
            said.append(
                f"{', '.join(shares)} left out: that rounds to none of the {least} of class {name}"
            )
        return possible, said


def pool_of(parts: Parts) -> Pool:
    """Training videos of recordings of which nothing is tested, and the tested videos whose class
    they have."""
    labels, groups = parts.labels, parts.groups
    train = parts.train[~np.isin(groups[parts.train], groups[parts.test])]
    test = parts.test[np.isin(labels[parts.test], labels[train])]
    said = []
    if siblings := len(parts.train) - len(train):
        said.append(
            f"{siblings} of {len(parts.train)} train videos not drawn: their recordings are tested"
        )
    if without := len(parts.test) - len(test):
        said.append(
            f"{without} of {len(parts.test)} test videos left out: none of their class can be drawn"
        )
    return Pool(parts, train, test, tuple(said))


def drawing_orders(pool: Pool, draw: int) -> dict[int, np.ndarray]:
    """Of every class, by label, the positions of its videos in the order in which one draw takes
    them: a video of every recording before a second of any. So 2 videos of a class are those of 1
    and one more. The order rests on SEED, the draw and the class alone."""
    labels, groups = pool.parts.labels, pool.parts.groups
    orders = {}
    for label in pool.sizes:
        dice = np.random.default_rng((SEED, draw, label))
        shuffled = dice.permutation(pool.train[labels[pool.train] == label])
        before = _earlier_of_its_group(groups[shuffled])
        orders[label] = shuffled[np.argsort(before, kind="stable")]
    return orders


def _earlier_of_its_group(groups: np.ndarray) -> np.ndarray:
    """int64: how many of the same group stand before each."""
    counts: dict[int, int] = {}
    earlier = np.empty(len(groups), np.int64)
    for i, group in enumerate(groups.tolist()):
        earlier[i] = counts.get(group, 0)
        counts[group] = earlier[i] + 1
    return earlier


def drawn(orders: dict[int, np.ndarray], amount: Amount) -> np.ndarray:
    """int64: the positions of the videos that one draw takes, class by class."""
    return np.concatenate([order[: amount.of(len(order))] for order in orders.values()])


def few_label_accuracy(
    features: np.ndarray, pool: Pool, standardise: bool, device: torch.device, progress: Progress
) -> dict[str, list[float]]:
    """top-1 in percent of every draw, by the name of the amount, of those that every class can
    give. `features`: float32, a row for every video of the data set. `standardise`: by mean and
    standard deviation of the drawn videos. The classifier is scikit-learn's LogisticRegression with
    its defaults, fitted to convergence. `progress` counts fits, of which one is left at the end."""
    amounts, _ = pool.amounts()
    known = list(pool.sizes)  # all of them are in every draw
    labels = np.searchsorted(known, pool.parts.labels)
    accuracy: dict[str, list[float]] = {amount.name: [] for amount in amounts}
    fits = DRAWS * len(amounts) + 1  # that of all labels follows
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
            # scikit-learn's sum of losses times C, and half the squared norm, divided by C * videos
            classify = fit_lbfgs(fitted, len(known), 1 / (2 * C * len(train)))
            accuracy[amount.name].append(tested.share(tested.best(classify, 1)))
            done = sum(map(len, accuracy.values()))
            progress(done, fits, f"draw {draw + 1}, {amount.name}")
    return accuracy
