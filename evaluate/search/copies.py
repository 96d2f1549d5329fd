"""Groups of copies, and which of them to keep."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from evaluate.features.store import Features
from evaluate.search.duplicates import DuplicatePair, groups_of

_NEARLY_ALL = 0.9  # of a video's clips


@dataclass(frozen=True)
class CopyGroup:
    """Videos that a chain of pairs links.

    Attributes:
        number: from 1, in the order of the best pairs
        videos: positions in the store, rising
        pairs: best first
    """

    number: int
    videos: tuple[int, ...]
    pairs: tuple[DuplicatePair, ...]


@dataclass(frozen=True)
class Worth:
    """What decides which of several copies to keep, the first difference first; larger is better.

    Attributes:
        pixels: of a picture of the file; 0 where this is not known of all copies
        seconds: to a tenth
        bytes: of the file; 0: unknown
    """

    pixels: int
    seconds: float
    bytes: int


def copy_groups(pairs: Sequence[DuplicatePair]) -> list[CopyGroup]:
    """The groups of `pairs` (best first)."""
    group_of = groups_of(pairs)
    videos: dict[int, list[int]] = {}
    for video, group in sorted(group_of.items()):
        videos.setdefault(group, []).append(video)
    linked: dict[int, list[DuplicatePair]] = {}
    for pair in pairs:
        linked.setdefault(group_of[pair.first], []).append(pair)
    return [
        CopyGroup(group + 1, tuple(videos[group]), tuple(linked[group])) for group in sorted(videos)
    ]


def proposal(
    store: Features, group: CopyGroup, worth: Mapping[int, Worth], names: Sequence[str]
) -> set[int]:
    """Which videos of a group to keep: the best one by its worth, of equals the first by name, and
    any other that is not nearly whole in one that is kept: what only it shows would be lost."""

    def rank(video: int) -> tuple[float, float, float, str]:
        value = worth[video]
        return -value.pixels, -value.seconds, -value.bytes, names[video]

    clips = np.bincount(store.clip_video, minlength=len(names))
    within: dict[int, set[int]] = {video: set() for video in group.videos}  # and in which others
    for pair in group.pairs:
        for video, other, (first, last) in (
            (pair.first, pair.second, pair.first_clips),
            (pair.second, pair.first, pair.second_clips),
        ):
            if last - first + 1 >= _NEARLY_ALL * clips[video]:
                within[video].add(other)
    kept: set[int] = set()
    for video in sorted(group.videos, key=rank):
        if not within[video] & kept:
            kept.add(video)
    return kept
