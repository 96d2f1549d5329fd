"""Shared parts: find what pairs of videos of a store have in common, with its limits in both,
however short it is. A part that many videos share, such as an intro, is reported once.

Clips of unrelated videos resemble each other along a few axes (bright or dark, still or moving),
along which features vary most. So features are whitened first, that is, rotated and scaled so that
the store's clips vary about equally along every axis.

All pairs of videos are compared. Time grows with the square of the number of clips, memory with the
number of clips.
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

FLOOR = 3e-3  # added to variances, as a share of the largest
_ROWS = 1 << 15  # processed at a time, to limit memory
_LEVEL = 0.55  # of the threshold; clips where a shot begins in one video may be so dissimilar
_DROP = 0.5  # seconds of completely different clips
_EDGE = 5.0  # seconds that count as the start or the end of a video
_SAME = 0.5  # minimum intersection over union of spans that are the same part
Span = tuple[int, int]


@dataclass(frozen=True)
class Part:
    """A part that two videos share. Clips are given by their positions among the store's clips.

    Attributes:
        first: position of a video in the store
        second: position of a later video
        first_clips: first and last clip of the part
        second_clips: the same in the second video
        speed: playback speed in the second video relative to the first
        similarity: mean similarity of the clips
        score: grows with length and similarity
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
    """A part, with all videos that share it.

    Attributes:
        pairs: best first
        spans: first and last clip in every video, by its best pair
        where: start | end if it is there in most of the videos; "": elsewhere
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
    """All parts that two videos share, best first. `centre` (float32, channels) is subtracted from
    all features before cosines are computed.

    Raises EvaluateError if times are unknown, or if features are NaN or infinite.
    """
    times = _times(store)
    rows = whitened(store.clip_features, centre).to(device or "cpu")
    bounds = np.searchsorted(store.clip_video, np.arange(len(store.names) + 1)).tolist()
    videos = [Sequenced(rows[start:end], times[start:end]) for start, end in pairwise(bounds)]
    parts = []
    for b, second in enumerate(videos):
        for a, first in enumerate(videos[:b]):
            for run in align(first, second, rules):
                spans = _shifted(run.first, bounds[a]), _shifted(run.second, bounds[b])
                parts.append(Part(a, b, *spans, run.speed, run.similarity, run.score))
        progress(b + 1, len(videos), f"{len(parts)} parts")
    return sorted(parts, key=lambda part: (-part.score, part.first, part.second, part.first_clips))


def _shifted(span: Span, by: int) -> Span:
    return span[0] + by, span[1] + by


def whitened(features: np.ndarray, centre: np.ndarray) -> torch.Tensor:
    """float32, N x channels + 1: rows minus the centre, whitened, of length 1. Axes with little
    variance (FLOOR of the largest) are scaled up less, as they contain mostly rounding and
    compression noise."""
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
    """The rules of `find_parts` for clips `step` seconds apart; `shortest` is in seconds."""
    return Rules(step, threshold, shortest, level=_LEVEL * threshold, drop=_DROP / step)


def step_of(store: Features) -> float:
    """Seconds between the clips of a store. Raises EvaluateError if it has a fixed number of clips
    per video."""
    every = float(store.attributes.get("every", 0))
    if not every:
        raise EvaluateError(
            f"{store.path} has a fixed number of clips per video, but shared parts need clips at "
            "regular times. Make a store with ascnet embed --every 0.25."
        )
    return every


def _times(store: Features) -> np.ndarray:
    """float64, clips: start times in seconds. Raises EvaluateError if they are unknown."""
    spans = [store.seconds(clip) for clip in range(len(store.clip_video))]
    unknown = [store.clip_video[i] for i, span in enumerate(spans) if span is None]
    if unknown:
        raise EvaluateError(
            f"{store.path} has no frame rate for {store.names[unknown[0]]}, so its parts would "
            "have no time codes. Leave the video out, or write the frame rate into the file."
        )
    return np.array([span[0] for span in spans if span is not None])


def shared_parts(store: Features, parts: Sequence[Part]) -> list[SharedPart]:
    """Group pairs that share the same part, that is, pairs with a video in common in which their
    spans are mostly the same. The part with the best pair comes first."""
    known: dict[int, list[Span]] = {}  # the different spans of every video
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
    """(video, index of its span): the span that is mostly the same, or a new one."""
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
        assert begin is not None and end is not None  # find_parts requires known times
        at["start"] += begin[0] <= _EDGE
        at["end"] += end[1] >= store.duration[video] - _EDGE
    where = max(at, key=lambda edge: at[edge])
    return SharedPart(tuple(pairs), spans, where if 2 * at[where] > len(spans) else "")
