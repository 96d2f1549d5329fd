"""Shared parts: what two videos of a store have in common, with its limits in both, however little
of either it is. A part that many videos share, such as an intro, is one.

Clips of unrelated videos are alike along a few axes (bright or dark, still or moving), on which
features vary most. So features are whitened first: turned and scaled by what the store's clips are,
so that they vary about as much along every axis.

All pairs of videos are compared. Time grows with the square of the clips, memory with the clips.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch

from builder.progress import Progress, silent
from evaluate.errors import EvaluateError
from evaluate.features.store import Features
from evaluate.search.alignment import Rules, Sequenced, align
from evaluate.search.duplicates import linked
from evaluate.search.search import unit_rows
from trainer.float32 import float32_products

FLOOR = 3e-3  # of the largest variance
_ROWS = 1 << 15  # at a time; bounds memory
_LEVEL = 0.55  # of the threshold: a clip in a shot that another part of begins may be as far off
_DROP = 0.5  # seconds of clips that are not alike at all
_EDGE = 5.0  # seconds from the start or the end of a video
_SAME = 0.5  # intersection over union of what two pairs share in one video
Span = tuple[int, int]


@dataclass(frozen=True)
class Part:
    """What two videos share. Clips are positions among the store's clips.

    Attributes:
        first: position in the store
        second: a later one
        first_clips: the first and the last clip
        speed: how much faster it plays in the second video
        similarity: mean of the clips
        score: grows with the length and the similarity
    """

    first: int
    second: int
    first_clips: Span
    second_clips: Span
    speed: float
    similarity: float
    score: float


@dataclass(frozen=True)
class SharedPart:
    """A part, and all videos that share it.

    Attributes:
        pairs: best first
        spans: the first and the last clip in every video, of its best pair
        where: start | end, of most of the videos; "": elsewhere
    """

    pairs: tuple[Part, ...]
    spans: dict[int, Span]
    where: str


@float32_products()
def find_parts(
    store: Features,
    rules: Rules,
    centre: np.ndarray,
    device: torch.device | None = None,
    progress: Progress = silent,
) -> list[Part]:
    """All parts that two videos share, best first. `centre` (float32, channels) is taken from all
    features before cosines.

    Raises EvaluateError if times are not known, or if features are no numbers.
    """
    times = _times(store)
    rows = whitened(store.clip_features, centre).to(device or "cpu")
    bounds = np.searchsorted(store.clip_video, np.arange(len(store.names) + 1)).tolist()
    videos = [Sequenced(rows[start:end], times[start:end]) for start, end in pairwise(bounds)]
    found = []
    for b, second in enumerate(videos):
        for a, first in enumerate(videos[:b]):
            for run in align(first, second, rules):
                own, other = _shifted(run.first, bounds[a]), _shifted(run.second, bounds[b])
                found.append(Part(a, b, own, other, run.speed, run.similarity, run.score))
        progress(b + 1, len(videos), f"{len(found)} parts")
    return sorted(found, key=lambda part: (-part.score, part.first, part.second, part.first_clips))


def _shifted(span: Span, by: int) -> Span:
    return span[0] + by, span[1] + by


def whitened(features: np.ndarray, centre: np.ndarray) -> torch.Tensor:
    """float32, N x channels + 1: rows less the centre, scaled so that they vary about as much along
    every axis, of length 1. Axes along which they hardly vary (FLOOR of the variance along the
    first) are not scaled up as much: rounding and compression would be all that is seen."""
    rows = features - centre
    covariance = np.zeros((rows.shape[1],) * 2)
    for start in range(0, len(rows), _ROWS):
        some = rows[start : start + _ROWS].astype(np.float64)
        covariance += some.T @ some / len(rows)
    variances, axes = np.linalg.eigh(covariance)
    scale = np.maximum(variances, 0) + FLOOR * max(variances[-1], np.finfo(np.float64).tiny)
    turn = axes / np.sqrt(scale / scale[-1])
    return unit_rows((rows @ turn).astype(np.float32), np.zeros_like(centre))


def part_rules(step: float, threshold: float, shortest: float) -> Rules:
    """The rules of `find_parts` for clips `step` seconds apart; `shortest` in seconds."""
    return Rules(step, threshold, shortest, level=_LEVEL * threshold, drop=_DROP / step)


def step_of(store: Features) -> float:
    """Seconds between clips. Raises EvaluateError if the store's clips do not lie so."""
    every = float(store.attributes.get("every", 0))
    if not every:
        raise EvaluateError(
            f"{store.path} has a fixed number of clips a video, and parts are found in clips at "
            "even times. Make a store with ascnet embed --every 0.25."
        )
    return every


def _times(store: Features) -> np.ndarray:
    """float64, clips: when each begins, in seconds."""
    spans = [store.seconds(clip) for clip in range(len(store.clip_video))]
    unknown = [store.clip_video[i] for i, span in enumerate(spans) if span is None]
    if unknown:
        raise EvaluateError(
            f"{store.path} does not know the frame rate of {store.names[unknown[0]]}, so its parts "
            "would have no time codes. Leave the video out, or write its frame rate into the file."
        )
    return np.array([span[0] for span in spans if span is not None])


def shared_parts(store: Features, parts: Sequence[Part]) -> list[SharedPart]:
    """Pairs that share the same part, in one each: of two pairs with a video in common, those
    whose spans in it are mostly the same. The part with the best pair first."""
    known: dict[int, list[Span]] = {}  # of every video, different spans
    links = []
    for part in parts:
        ends = ((part.first, part.first_clips), (part.second, part.second_clips))
        one, other = (_place(known.setdefault(v, []), v, span) for v, span in ends)
        links.append((one, other))
    first_of = linked(links)
    groups: dict[tuple[int, int], list[Part]] = {}
    for part, (one, _) in zip(parts, links, strict=True):
        groups.setdefault(first_of[one], []).append(part)
    return [_shared(store, pairs) for pairs in groups.values()]


def _place(spans: list[Span], video: int, span: Span) -> tuple[int, int]:
    """(video, position among its spans) of the one that is mostly the same, or of a new one."""
    for position, other in enumerate(spans):
        common = min(span[1], other[1]) - max(span[0], other[0]) + 1
        either = max(span[1], other[1]) - min(span[0], other[0]) + 1
        if common >= _SAME * either:
            return video, position
    spans.append(span)
    return video, len(spans) - 1


def _shared(store: Features, pairs: Sequence[Part]) -> SharedPart:
    spans: dict[int, Span] = {}
    for part in pairs:
        spans.setdefault(part.first, part.first_clips)
        spans.setdefault(part.second, part.second_clips)
    at = {"start": 0, "end": 0}
    for video, (first, last) in spans.items():
        begin, end = store.seconds(first), store.seconds(last)
        assert begin is not None and end is not None  # parts of other videos are not looked for
        at["start"] += begin[0] <= _EDGE
        at["end"] += end[1] >= store.duration[video] - _EDGE
    where = max(at, key=lambda edge: at[edge])
    return SharedPart(tuple(pairs), spans, where if 2 * at[where] > len(spans) else "")
