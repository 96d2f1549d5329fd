"""The nearest videos of every query in a feature store, by the trained features."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from evaluate.encoders import TRAINED
from evaluate.errors import EvaluateError
from evaluate.features.store import Features, identity_in
from evaluate.retrieval.nearest import nearest

TOP = 5  # nearest videos per query
_MOST = 5000  # queries at most, evenly spaced
_UNFINISHED = ".partial.h5"
_PARTS = ("test", "val")  # parts that give the queries; the gallery is "train"


@dataclass(frozen=True)
class NearestVideos:
    """The nearest videos of every query.

    Attributes:
        queries: int64, queries: positions in the store
        nearest: int64, queries x TOP: positions in the store, best first; -1: none
        how: a sentence on queries and gallery
        labelled: whether classes are known
        split: split of the queries; "": queries are from the whole store
        part: part of the split with the queries
    """

    queries: np.ndarray
    nearest: np.ndarray
    how: str
    labelled: bool
    split: str = ""
    part: str = ""


def stores_of(run: Path) -> tuple[list[Features], list[str]]:
    """One store of the trained encoder for each data set, and sentences about stores that are not
    shown. Stores of earlier checkpoints are skipped, as the curve covers them."""
    stores, said = [], []
    for path in sorted((run / "features").glob("*.h5")):
        if path.name.endswith(_UNFINISHED):
            continue
        try:
            made_with = identity_in(path)
            if made_with.get("encoder") == TRAINED and "milestone" not in made_with:
                stores.append(Features(path))
        except EvaluateError as error:
            said.append(str(error))
    chosen: dict[str, Features] = {}
    for store in sorted(stores, key=_preference):
        name = name_of(store)
        shown = chosen.setdefault(name, store)
        if shown is not store:
            said.append(
                f"{store.path.name} holds features of {name} too; {shown.path.name} is shown."
            )
    return [chosen[name] for name in sorted(chosen)], said


def _preference(store: Features) -> tuple[bool, int, str]:
    """Sort key: the store that results are computed from comes first, then those with short
    names."""
    file = store.path.name
    return file != f"{name_of(store)}-{TRAINED}.h5", len(file), file


def name_of(store: Features) -> str:
    """Name of its data set."""
    return str(store.attributes.get("dataset", store.path.stem))


def find(store: Features, split: str) -> NearestVideos:
    """Find the nearest videos for the test part (or val part) of a split in its train part. Without
    such a split, search for every video among all others, except those of the same source
    recording."""
    for name in dict.fromkeys([split, *sorted(store.splits)]):
        gallery = store.part(name, "train")
        for part in _PARTS:
            queries = store.part(name, part)
            if len(gallery) and len(queries):
                return _across(store, gallery, queries, name, part)
    return _among(store)


def _across(
    store: Features, gallery: np.ndarray, every: np.ndarray, split: str, part: str
) -> NearestVideos:
    queries, thinned = thin(every, _MOST), ""
    if len(queries) < len(every):
        thinned = f" (of {len(every)}, evenly chosen)"
    best = nearest(store.features[gallery], store.features[queries], TOP).positions
    how = (
        f"{len(queries)} queries{thinned} from the {part} part of split {split}; gallery: the "
        f"{len(gallery)} videos of its train part; compared by cosine."
    )
    return NearestVideos(queries, _padded(gallery[best]), how, True, split, part)


def _among(store: Features) -> NearestVideos:
    """Search for each video among all others: for unlabelled videos, or without a split."""
    queries = thin(np.arange(len(store.names)), _MOST)
    groups = np.unique(np.array(store.groups, dtype=object).astype(str), return_inverse=True)[1]
    best = nearest(
        store.features,
        store.features[queries],
        TOP,
        groups=(groups, groups[queries]),  # the query itself is of this group, too
    ).positions
    labelled = bool((store.labels[queries] >= 0).any())
    how = (
        f"{len(queries)} of {len(store.names)} videos as queries; gallery: all other videos, "
        "except those of the same source recording; compared by cosine. There is no labelled split "
        "into train and test parts."
    )
    return NearestVideos(queries, _padded(best), how, labelled)


def _padded(positions: np.ndarray) -> np.ndarray:
    missing = max(0, TOP - positions.shape[1])
    return np.pad(positions, ((0, 0), (0, missing)), constant_values=-1)


def thin(values: np.ndarray, most: int) -> np.ndarray:
    """At most `most` of the values, evenly spaced, including the first and the last."""
    if len(values) <= most:
        return values
    return values[np.round(np.linspace(0, len(values) - 1, most)).astype(np.int64)]


def is_right(store: Features, query: int, other: int) -> bool | None:
    """Whether both videos have the same class; None if a label is unknown."""
    if store.labels[query] < 0 or store.labels[other] < 0:
        return None
    return bool(store.labels[query] == store.labels[other])
