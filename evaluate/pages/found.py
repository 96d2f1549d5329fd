"""What the trained features find: the nearest videos of every query, from a feature store."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from evaluate.errors import EvaluateError
from evaluate.retrieval import nearest
from evaluate.store import Features

TOP = 5  # videos found for a query
_MOST = 5000  # queries; more are thinned evenly
_SIBLINGS = 59  # neighbours of the same source recording that may be passed over
_PARTS = ("test", "val")  # what is asked with; the gallery is "train"


@dataclass(frozen=True)
class Found:
    queries: np.ndarray  # int64, queries: positions in the store
    nearest: np.ndarray  # int64, queries x TOP: positions in the store, best first; -1: none
    how: str  # a sentence: what was asked of what
    labelled: bool  # whether right and wrong are known


def stores_of(run: Path) -> tuple[list[Features], list[str]]:
    """One store of the trained encoder for each data set, and sentences about those left out."""
    chosen: dict[str, Features] = {}
    said = []
    paths = [p for p in (run / "features").glob("*-trained*.h5") if not _unfinished(p)]
    for path in sorted(paths, key=lambda p: (len(p.name), p.name)):
        try:
            store = Features(path)
        except EvaluateError as error:
            said.append(str(error))
            continue
        name = str(store.attributes.get("dataset", path.stem))
        shown = chosen.setdefault(name, store)
        if shown is not store:
            said.append(f"{path.name} holds features of {name} too; {shown.path.name} is shown.")
    return [chosen[name] for name in sorted(chosen)], said


def _unfinished(path: Path) -> bool:
    return path.name.endswith(".partial.h5")


def find(store: Features, split: str) -> Found:
    """Ask the train part of a split with its test part (or val part); where there is no such split,
    ask all videos with each of them, leaving out those of its own source recording."""
    for name in dict.fromkeys([split, *sorted(store.splits)]):
        gallery = store.part(name, "train")
        for part in _PARTS:
            queries = store.part(name, part)
            if len(gallery) and len(queries):
                return _across(store, gallery, queries, f"split {name}", part)
    return _among(store)


def _nearest(gallery: np.ndarray, queries: np.ndarray, k: int) -> np.ndarray:
    """int64, queries x min(k, gallery): positions in `gallery`. The only call of `nearest`."""
    return nearest(gallery, queries, k).positions


def _across(
    store: Features, gallery: np.ndarray, every: np.ndarray, split: str, part: str
) -> Found:
    queries, thinned = thin(every, _MOST), ""
    if len(queries) < len(every):
        thinned = f" (of {len(every)}, evenly chosen)"
    best = _nearest(store.features[gallery], store.features[queries], TOP)
    how = (
        f"{len(queries)} queries{thinned} from the {part} part of {split}, searched for in the "
        f"{len(gallery)} videos of its train part by cosine."
    )
    return Found(queries, _padded(gallery[best]), how, True)


def _among(store: Features) -> Found:
    """Leave one out: for unlabelled videos, or where there is no split."""
    queries = thin(np.arange(len(store.names)), _MOST)
    best = _nearest(store.features, store.features[queries], 1 + _SIBLINGS + TOP)
    groups = np.unique(np.array(store.groups, dtype=object).astype(str), return_inverse=True)[1]
    found = np.full((len(queries), TOP), -1, np.int64)
    for row, (query, order) in enumerate(zip(queries, best, strict=True)):
        others = order[(groups[order] != groups[query]) & (order != query)][:TOP]
        found[row, : len(others)] = others
    labelled = bool((store.labels[queries] >= 0).any())
    how = (
        f"{len(queries)} of {len(store.names)} videos, each searched for among all others by "
        "cosine, those of its own source recording left out: there is no split into train and "
        "test parts with labels."
    )
    return Found(queries, found, how, labelled)


def _padded(found: np.ndarray) -> np.ndarray:
    missing = max(0, TOP - found.shape[1])
    return np.pad(found, ((0, 0), (0, missing)), constant_values=-1)


def thin(values: np.ndarray, most: int) -> np.ndarray:
    """At most `most` of the values, evenly spaced, the first and the last included."""
    if len(values) <= most:
        return values
    return values[np.round(np.linspace(0, len(values) - 1, most)).astype(np.int64)]


def is_right(store: Features, query: int, other: int) -> bool | None:
    """Whether both are of one class; None if a label is unknown."""
    if store.labels[query] < 0 or store.labels[other] < 0:
        return None
    return bool(store.labels[query] == store.labels[other])
