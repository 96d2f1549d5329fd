"""Is k-centre a better choice of videos to label than chance? Compare linear probes:

python -m experiments.selection SHARDS STORE...

SHARDS: a labelled data set with a split; STORE: feature stores of it (`ascnet evaluate` writes
them), one for each network. For 10, 25 and 50 % of the training videos, prints the linear probe on
the test videos, with labels of the videos that `ascnet select --count` chooses, and of as many
videos that are drawn at random, DRAWS times: mean and standard deviation over the networks.
"""

import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from builder import text_table
from builder.errors import AscnetError
from builder.shards.dataset import ShardDataset
from evaluate.features.store import Features
from evaluate.probe.probe import LabelledFeatures, linear_probe
from evaluate.search.search import centre_of, unit_rows
from evaluate.search.selection import k_centre
from evaluate.split import Parts, parts_of
from experiments.table import words

SHARES = (10, 25, 50)  # percent of the training videos
DRAWS = 5


def chosen(store: Features, parts: Parts, count: int) -> np.ndarray:
    """Positions of the `count` training videos that k-centre chooses, as `ascnet select` does."""
    rows = unit_rows(store.features, centre_of(store), str(store.path))[parts.train]
    groups = [store.groups[i] for i in parts.train]
    return np.asarray(parts.train)[k_centre(rows, groups, count)]


def accuracy(store: Features, parts: Parts, labelled: np.ndarray) -> float:
    """Top-1 accuracy in percent on the test videos, with the labels of some training videos."""

    def of(positions: np.ndarray) -> LabelledFeatures:
        groups = parts.groups[positions].tolist()
        return LabelledFeatures(store.features[positions], parts.labels[positions], groups)

    return linear_probe(of(labelled), of(parts.test)).top1


def rows_of(stores: Sequence[Features], parts: Parts) -> list[list[str]]:
    """A row for each share: videos, k-centre, random, and the difference network by network."""
    rows = [["labelled", "videos", "k-centre", "random", "k-centre - random"]]
    for share in SHARES:
        count = round(len(parts.train) * share / 100)
        best = [accuracy(store, parts, chosen(store, parts, count)) for store in stores]
        drawn = []
        for store in stores:
            random = np.random.default_rng(0)
            draws = [random.choice(parts.train, count, replace=False) for _ in range(DRAWS)]
            drawn.append(statistics.fmean(accuracy(store, parts, draw) for draw in draws))
        gain = [one - other for one, other in zip(best, drawn, strict=True)]
        rows.append([f"{share} %", str(count), words(best), words(drawn), words(gain, "+")])
    return rows


def main(arguments: list[str]) -> None:
    if len(arguments) < 2:
        sys.exit("Say: python -m experiments.selection SHARDS STORE...")
    try:
        parts = parts_of(ShardDataset(Path(arguments[0])), "1")
        stores = [Features(Path(store)) for store in arguments[1:]]
        print(text_table.markdown(rows_of(stores, parts)))
    except AscnetError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main(sys.argv[1:])
