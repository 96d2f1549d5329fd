"""Near-duplicates: find videos of a store whose clips have nearly the same features, exactly.

The score of a pair is the mean, over the clips of the video with fewer clips, of the cosine with
the nearest clip of the other video: it is 1 if all its clips are found in the other. So a trimmed
copy, or a part of a long video, is matched with the whole. (For equally many clips, the larger of
the two means counts. Otherwise it does not: any short video of a scene would match a long video
that mostly shows that scene.)

Two videos with a score of t have two clips with a cosine of at least t, so such clips are searched
for first, in blocks. Most pairs are ruled out by a bound: after a rotation that concentrates
features in their first HEAD components, a . b <= head(a) . head(b) + |rest(a)| |rest(b)|.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import torch

from builder.counted import counted
from builder.progress import Progress, silent
from evaluate.errors import EvaluateError
from evaluate.features.store import Features
from evaluate.search.search import unit_rows
from trainer.float32 import float32_products

HEAD = 32
_BLOCK = 4096  # clips; the products of two blocks have 64 MB
_AT_ONCE = 1 << 16  # pairs of clips computed at a time
_SLACK = 1e-4  # so that rounding of float32 rules out no pair
_DIGITS = 1e6  # cosines are rounded to 1 / _DIGITS
_SPREAD = 0.05  # by which single clips of a copy may be below its mean
_T = TypeVar("_T", int, str, tuple[int, int])  # a video, a group, or a part of a video
_MANY = 5_000_000  # pairs of videos; more mean that the threshold is too low


class VideoPair(Protocol):
    """Two videos by their positions in the store."""

    @property
    def first(self) -> int: ...

    @property
    def second(self) -> int: ...


@dataclass(frozen=True)
class DuplicatePair:
    """Two near-duplicate videos. Clips are given by their positions among the store's clips.

    Attributes:
        first: position of a video in the store
        second: position of a later video
        first_clips: first and last of the matching clips: all clips of the video with fewer, and
            the best-fitting clips of the other
        second_clips: the same for the second video
        shares: of the clips of the first and of the second video, the share that has a similar clip
            (with a cosine of the threshold - _SPREAD or more) in the other
    """

    score: float
    first: int
    second: int
    first_clips: tuple[int, int]
    second_clips: tuple[int, int]
    shares: tuple[float, float]


@float32_products()
def find_pairs(
    store: Features,
    threshold: float,
    centre: np.ndarray,
    device: torch.device | None = None,
    progress: Progress = silent,
) -> list[DuplicatePair]:
    """All pairs of videos with a score of at least `threshold`, best first. `centre` (float32,
    channels) is subtracted from all features before cosines are computed. Time grows with the
    square of the number of clips; memory does not.

    Raises EvaluateError if features are NaN or infinite, or if there are millions of pairs.
    """
    rows = unit_rows(store.clip_features, centre, str(store.path)).to(device or "cpu")
    candidates = _candidates(rows, store.clip_video, threshold, progress)
    bounds = np.searchsorted(store.clip_video, np.arange(len(store.names) + 1))
    pairs = []
    for a, b in candidates.tolist():
        pair = _compare(rows, (a, b), bounds, threshold)
        if pair.score >= threshold:
            pairs.append(pair)
    return sorted(pairs, key=lambda pair: (-pair.score, pair.first, pair.second))


def _candidates(
    rows: torch.Tensor, clip_video: np.ndarray, threshold: float, progress: Progress
) -> np.ndarray:
    """int64, pairs x 2: pairs of videos, the earlier one first, with clips whose cosine is at least
    `threshold`. `rows` have length 1 and the order of `clip_video`."""
    heads = _heads(rows)
    videos = torch.from_numpy(clip_video).long().to(rows.device)
    count = int(clip_video[-1]) + 1
    codes = torch.empty(0, dtype=torch.int64, device=rows.device)  # first * count + second
    for i in range(0, len(rows), _BLOCK):
        one = slice(i, i + _BLOCK)
        fresh = [codes]
        for j in range(i, len(rows), _BLOCK):
            other = slice(j, j + _BLOCK)
            bounds = heads[one] @ heads[other].T
            if clip_video[one][-1] >= clip_video[j]:  # clips of one video are not compared
                bounds.masked_fill_(videos[one, None] >= videos[None, other], -1)
            if float(bounds.max()) < threshold - _SLACK:
                continue
            pairs = (bounds >= threshold - _SLACK).nonzero()
            for some in pairs.split(_AT_ONCE):
                a, b = some[:, 0] + i, some[:, 1] + j
                both = (rows[a] * rows[b]).sum(dim=1) >= threshold - _SLACK
                fresh.append(torch.unique(videos[a[both]] * count + videos[b[both]]))
        codes = torch.unique(torch.cat(fresh))
        progress(min(i + _BLOCK, len(rows)), len(rows), counted(len(codes), "candidate pair"))
        if len(codes) > _MANY:
            raise EvaluateError(
                f"More than {_MANY} pairs of videos have clips with a cosine of {threshold:g}: "
                "raise the threshold, or use features of a better network."
            )
    return np.stack(np.divmod(codes.cpu().numpy(), count), axis=1)


def _heads(rows: torch.Tensor) -> torch.Tensor:
    """float32, N x HEAD + 1: each row's components along the axes of largest variance, and the
    length of its rest. Products of these are upper bounds of products of rows."""
    _, axes = torch.linalg.eigh((rows.T @ rows).double())
    axes = axes.flip(1).float()
    parts = []
    for some in rows.split(_AT_ONCE):
        turned = some @ axes
        rest = turned[:, HEAD:].norm(dim=1, keepdim=True)
        parts.append(torch.cat([turned[:, :HEAD], rest], dim=1))
    return torch.cat(parts)


def _compare(
    rows: torch.Tensor, videos: tuple[int, int], bounds: np.ndarray, threshold: float
) -> DuplicatePair:
    """The score of two videos and their matching clips; the clips of video v are the rows
    `bounds[v]` to `bounds[v + 1]` (exclusive)."""
    starts = [int(bounds[video]) for video in videos]
    ends = [int(bounds[video + 1]) for video in videos]
    whole = [(start, end - 1) for start, end in zip(starts, ends, strict=True)]
    # In float64, rounded to a millionth, so that equal features have a cosine of exactly 1.
    first, second = (rows[a:b].double() for a, b in zip(starts, ends, strict=True))
    cosines = (first @ second.T).mul_(_DIGITS).round_().div_(_DIGITS)
    nearest = cosines.amax(dim=1), cosines.amax(dim=0)  # of the clips of each video, in the other
    scores = [float(near.mean()) for near in nearest]
    of_first, of_second = (float((n >= threshold - _SPREAD).double().mean()) for n in nearest)
    shares = of_first, of_second
    if len(cosines) == cosines.shape[1]:
        return DuplicatePair(max(scores), *videos, whole[0], whole[1], shares)
    is_first_longer = len(cosines) > cosines.shape[1]
    if is_first_longer:
        cosines = cosines.T
    place = _place(cosines) + starts[0 if is_first_longer else 1]
    part = (place, place + len(cosines) - 1)
    first_clips, second_clips = (part, whole[1]) if is_first_longer else (whole[0], part)
    return DuplicatePair(scores[is_first_longer], *videos, first_clips, second_clips, shares)


def _place(cosines: torch.Tensor) -> int:
    """The clip of the longer video (columns) from which on the shorter video's clips (rows) fit
    best, in sequence."""
    few, many = cosines.shape
    table = cosines.contiguous()
    diagonals = table.as_strided((many - few + 1, few), (1, many + 1))
    return int(diagonals.mean(dim=1).argmax())


def groups_of(pairs: Sequence[DuplicatePair]) -> dict[int, int]:
    """The group of every video with a near-duplicate. Videos linked by a chain of pairs are in one
    group; groups are numbered from 0 in the order of their best pairs."""
    first_of = linked((pair.first, pair.second) for pair in pairs)
    numbers: dict[int, int] = {}
    for pair in pairs:
        numbers.setdefault(first_of[pair.first], len(numbers))
    return {video: numbers[first] for video, first in first_of.items()}


def joined_groups(groups: Sequence[str], pairs: Sequence[VideoPair]) -> list[str]:
    """The group of every video after groups linked by a chain of pairs are joined, so that no pair
    spans two groups. A joined group has the first of its names; `groups` are the groups before."""
    first_of = linked((groups[pair.first], groups[pair.second]) for pair in pairs)
    return [first_of.get(group, group) for group in groups]


def linked(links: Iterable[tuple[_T, _T]]) -> dict[_T, _T]:
    """For everything that is linked, the smallest element that a chain of links leads to."""
    parent: dict[_T, _T] = {}

    def root(one: _T) -> _T:
        while parent.setdefault(one, one) != one:
            parent[one] = parent[parent[one]]
            one = parent[one]
        return one

    for link in links:
        low, high = sorted(map(root, link))
        parent[high] = low
    return {one: root(one) for one in list(parent)}


def leaks_of(store: Features, pair: VideoPair) -> list[str]:
    """The splits in which the two videos are in different parts, such as ["1: train/test"]."""
    parts = [(s, of[pair.first], of[pair.second]) for s, of in sorted(store.splits.items())]
    return [f"{split}: {a}/{b}" for split, a, b in parts if a and b and a != b]
