"""Group near-duplicates, and propose which of them to keep."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evaluate.search.duplicates import DuplicatePair, groups_of

_NEARLY_ALL = 0.9  # share of a video's clips


@dataclass(frozen=True)
class CopyGroup:
    """Videos linked by a chain of pairs.

    Attributes:
        number: from 1, in the order of the best pairs
        videos: positions in the store, ascending
        pairs: best first
    """

    number: int
    videos: tuple[int, ...]
    pairs: tuple[DuplicatePair, ...]


@dataclass(frozen=True)
class Worth:
    """Criteria for which of several copies to keep, most important first; larger is better.

    Attributes:
        pixels: pixels of a frame of the file; 0 if unknown for one of the copies
        seconds: duration, rounded to a tenth
        bytes: size of the file; 0: unknown
    """

    pixels: int
    seconds: float
    bytes: int


def copy_groups(pairs: Sequence[DuplicatePair]) -> list[CopyGroup]:
    """Group the videos of `pairs` (best first)."""
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


def proposal(group: CopyGroup, worth: Mapping[int, Worth], names: Sequence[str]) -> set[int]:
    """The videos of a group to keep: the best by its worth (of equals, the first by name), and
    every other one that is not almost completely contained in a kept video, as its other content
    would be lost."""

    def rank(video: int) -> tuple[float, float, float, str]:
        value = worth[video]
        return -value.pixels, -value.seconds, -value.bytes, names[video]

    within: dict[int, set[int]] = {
        video: set() for video in group.videos
    }  # the videos that contain nearly all of each
    for pair in group.pairs:
        both = (pair.first, pair.second), (pair.second, pair.first)
        for (video, other), share in zip(both, pair.shares, strict=True):
            if share >= _NEARLY_ALL:
                within[video].add(other)
    kept: set[int] = set()
    for video in sorted(group.videos, key=rank):
        if not within[video] & kept:
            kept.add(video)
    return kept
