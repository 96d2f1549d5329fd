"""The labelled videos of the two parts of a split, for training and testing."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from builder.shards.dataset import ShardDataset, Video
from evaluate.choices import ALL
from evaluate.errors import EvaluateError, EvaluateUsageError
from trainer.data.training_set import describe_splits

TESTED = ("test", "val")  # the first with labels is tested (for Kinetics, val)


@dataclass(frozen=True)
class Parts:
    """The videos of a split. Positions refer to the data set's videos and to the rows of a feature
    store.

    Attributes:
        test_part: "test" or "val"
        train: int64, positions: training videos, or the gallery
        test: int64, positions: test videos, or queries, whose classes are in the train part
        labels: int64, label of every video; -1: unlabelled
        groups: int64, number of the source recording of every video
        classes: names by label
        unlabelled: number of videos in the two parts that are left out
        unknown: number of test videos that are left out, as the train part lacks their class
    """

    split: str
    test_part: str
    train: np.ndarray
    test: np.ndarray
    labels: np.ndarray
    groups: np.ndarray
    classes: tuple[str, ...]
    unlabelled: int
    unknown: int = 0

    @property
    def counts(self) -> dict[str, int]:
        counts = {"train": len(self.train), "test": len(self.test), "unlabelled": self.unlabelled}
        return counts | ({"class_not_in_train": self.unknown} if self.unknown else {})

    @property
    def with_siblings(self) -> int:
        """Number of test videos from recordings that the train part also has."""
        return int(np.isin(self.groups[self.test], self.groups[self.train]).sum())


def splits_of(dataset: ShardDataset, split: str) -> list[str]:
    """The requested split, or all splits that can be tested, sorted. Raises EvaluateError if there
    is none."""
    if split != ALL:
        return [split]
    parts = dataset.splits()
    usable = [s for s in sorted(parts) if "train" in parts[s] and parts[s] & set(TESTED)]
    if not usable:
        raise EvaluateError(
            f"{dataset.folder} has no split with both train and test videos; its splits are "
            f"{describe_splits(dataset) or 'none'}."
        )
    return usable


def parts_of(dataset: ShardDataset, split: str, factor: str = "") -> Parts:
    """The labelled videos of a split. With `factor`, a known factor of the videos (shapes: family,
    programme, outline, tempo) replaces the class. Test videos whose class is missing in the train
    part are left out, as they cannot be found or classified. Raises EvaluateError if there are no
    labels, or no videos to train or to test on."""
    videos = dataset.videos
    labels, classes = _of_factor(dataset, factor) if factor else _of_class(dataset)
    train = _positions(videos, split, "train", labels)
    tested = [(part, _positions(videos, split, part, labels)) for part in TESTED]
    test_part, test = next((part for part in tested if len(part[1])), tested[0])
    for part, positions in (("train", train), ("test", test)):
        if not len(positions):
            raise EvaluateUsageError(
                f"{dataset.folder} has no labelled {part} videos in split {split}; its splits are "
                f"{describe_splits(dataset) or 'none'}. {_instead(dataset, split)}"
            )
    known = np.isin(labels[test], labels[train])
    in_parts = sum(video.splits.get(split) in ("train", test_part) for video in videos)
    numbers = {group: i for i, group in enumerate(sorted({video.group for video in videos}))}
    return Parts(
        split=split,
        test_part=test_part,
        train=train,
        test=test[known],
        labels=labels,
        groups=np.array([numbers[video.group] for video in videos], np.int64),
        classes=tuple(classes),
        unlabelled=in_parts - len(train) - len(test),
        unknown=int((~known).sum()),
    )


def _instead(dataset: ShardDataset, split: str) -> str:
    """What to do if a split has no videos to train or to test on."""
    usable = [s for s, parts in dataset.splits().items() if {"train"} < parts and s != split]
    if usable:
        return f"Choose one with train and test videos: --split {' or '.join(sorted(usable))}."
    return (
        "An automatic split tests 30 % of the source groups of each class, and none of a class "
        "with a single group: add videos, or define the split in a splits.csv beside them, and "
        "build again."
    )


def _positions(videos: Sequence[Video], split: str, part: str, labels: np.ndarray) -> np.ndarray:
    is_in = np.array([video.splits.get(split) == part for video in videos], bool)
    return np.flatnonzero(is_in & (labels >= 0))


def _of_class(dataset: ShardDataset) -> tuple[np.ndarray, Sequence[str]]:
    if not dataset.classes:
        raise EvaluateError(
            f"{dataset.folder} is unlabelled, but recall and accuracy compare classes. Put the "
            "videos of each class into its own folder and build again, or search for videos with "
            "`ascnet search`."
        )
    labels = [-1 if video.label is None else video.label for video in dataset.videos]
    return np.array(labels, np.int64), dataset.classes


def _of_factor(dataset: ShardDataset, factor: str) -> tuple[np.ndarray, Sequence[str]]:
    values = [(video.factors or {}).get(factor) for video in dataset.videos]
    known = sorted({v for v in values if v is not None}, key=lambda v: (isinstance(v, str), v))
    if not known:
        names = sorted({name for video in dataset.videos for name in video.factors or ()})
        raise EvaluateUsageError(
            f"The videos of {dataset.folder} have no known factor {factor!r}; they have "
            f"{', '.join(names) or 'none'}."
        )
    number = {value: i for i, value in enumerate(known)}
    labels = [-1 if value is None else number[value] for value in values]
    return np.array(labels, np.int64), [str(value) for value in known]
