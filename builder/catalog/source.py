"""The catalog of a data set: its source videos, classes and splits, before decoding."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

SPLIT_PARTS = ("train", "val", "test")
UNUSED = "unused"  # in a table, marks a video that is in no part of the split


@dataclass(frozen=True)
class Source:
    """One source video, as its data set describes it; nothing here comes from decoding.

    Attributes:
        name: path relative to the source folder, with forward slashes; unique in the catalog
        path: of the file
        class_name: None if unlabelled
        group: the source recording that this clip was cut from, shared by its siblings
        splits: {"1": "train", "2": "test", ...}
        factors: known factors of a synthetic video
        problem: a key of `decode.frames.REASONS` known before decoding, such as "missing"
    """

    name: str
    path: Path
    class_name: str | None
    group: str
    splits: dict[str, str]
    factors: dict[str, str | float] | None = None
    problem: str | None = None


@dataclass(frozen=True)
class Catalog:
    """All source videos of a data set, in a fixed order.

    Attributes:
        dataset: its name
        root: source folder
        videos: a video's position is its key in the shards
        classes: names; a class's label is its position
        left_alone: (file, reason why it is not a video of the data set)
        remarks: sentences for whoever builds it
    """

    dataset: str
    root: Path
    videos: tuple[Source, ...]
    classes: tuple[str, ...]
    left_alone: tuple[tuple[str, str], ...] = field(default=())
    remarks: tuple[str, ...] = field(default=())

    def label(self, video: Source) -> int | None:
        """Position of the video's class in `classes`, 0-based; None if it is unlabelled."""
        return None if video.class_name is None else self._labels[video.class_name]

    @cached_property
    def _labels(self) -> dict[str, int]:
        return {name: label for label, name in enumerate(self.classes)}


def in_order(classes: Iterable[str]) -> tuple[str, ...]:
    """Classes in the order of their labels: as numbers if all of them are, or else as text."""
    names = sorted(set(classes))
    return tuple(sorted(names, key=_whole) if are_numbers(names) else names)


def are_numbers(classes: Iterable[str]) -> bool:
    """Whether all class names are whole numbers, such as "0", "12" and "-1", or "1.0", as some
    programs write integer columns with missing cells."""
    return all(re.fullmatch(r"-?[0-9]{1,18}(\.0+)?", name) for name in classes)


def _whole(name: str) -> int:
    return int(name.partition(".")[0])
