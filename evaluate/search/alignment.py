"""Alignment: where two videos show the same, at the same or another playback speed.

Both are rows of clips, evenly spaced in time. A part that they share is a diagonal of the table of
their clips' similarities (rows: clips of the first video, columns: of the second) whose slope is
the playback speed. For every speed the second video is read at that speed, so that all diagonals
are at 45 degrees, and along each of them the runs are found whose sum of (similarity - level) is
largest: a run begins anew where its sum is no longer positive, and ends where the sum has fallen by
`drop` from its largest. Of runs that overlap in one of the videos the one with the largest sum
stays: a moment of a video is one moment of the other.

The similarity of two clips is their cosine less half of what the cosine is with a whole stretch of
the other video (with its clip that is the WIDTH seconds' worth nearest one): darkness or a still
looks like all of a stretch, and that says nothing of where it lies.

Tables are never held whole: of one video BLOCK clips at a time.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

SPEEDS = (1.0, 0.9, 1.1, 0.8, 1.25)
WIDTH = 3.0  # seconds
BLOCK = 1024


@dataclass(frozen=True)
class Sequenced:
    """A video's clips in the order of time.

    Attributes:
        rows: float32, clips x channels, of length 1
        times: float64, clips: seconds at which clips begin, rising
    """

    rows: torch.Tensor
    times: np.ndarray


@dataclass(frozen=True)
class Rules:
    """What counts as a shared part.

    Attributes:
        step: seconds between clips
        threshold: mean similarity of a part, at least
        shortest: seconds from the first to the last clip, at least, in both videos
        level: similarity that counts neither for a part nor against it
        drop: how far a run's sum of (similarity - level) falls below its largest before it ends
    """

    step: float
    threshold: float
    shortest: float
    level: float
    drop: float


@dataclass(frozen=True)
class Run:
    """Clips of two videos that show the same one after the other.

    Attributes:
        first: positions of the first and last clip in the first video
        second: in the second
        speed: of SPEEDS: how much faster it plays in the second video
        similarity: mean
        score: sum of (similarity - level)
    """

    first: tuple[int, int]
    second: tuple[int, int]
    speed: float
    similarity: float
    score: float


def align(first: Sequenced, second: Sequenced, rules: Rules) -> list[Run]:
    """The parts that two videos share, the one with the largest sum first; none of them overlap."""
    if not len(first.times) or not len(second.times):
        return []
    usual = _usual(first, second, rules.step), _usual(second, first, rules.step)
    if not _may_share(first, second, usual, rules):
        return []
    found = [run for speed in SPEEDS for run in _runs(first, second, usual, speed, rules)]
    found.sort(key=lambda run: (-run.score, SPEEDS.index(run.speed), run.first, run.second))
    best: list[Run] = []
    for run in found:
        if not any(_overlap(run, other, first, second) for other in best):
            best.append(run)
    return best


def nearest_clips(times: np.ndarray, step: float) -> np.ndarray:
    """int64: positions of the clips that are nearest to the first one's time, `step` seconds later,
    and so on to the last one's."""
    moments = times[0] + step * np.arange(1 + int((times[-1] - times[0]) / step + 1e-6))
    if len(times) == 1:
        return np.zeros(1, np.int64)
    after = np.searchsorted(times, moments).clip(1, len(times) - 1)
    is_before = moments - times[after - 1] <= times[after] - moments
    nearest: np.ndarray = np.where(is_before, after - 1, after)
    return nearest


def _usual(one: Sequenced, other: Sequenced, step: float) -> np.ndarray:
    """float32, clips of `one`: half the cosine with its nearest clip of the other video after
    WIDTH seconds' worth of nearer ones."""
    place = min(round(WIDTH / step), len(other.rows))
    parts = [
        np.partition((rows @ other.rows.T).cpu().numpy(), -place, axis=1)[:, -place]
        for rows in one.rows.split(BLOCK)
    ]
    half: np.ndarray = np.concatenate(parts).clip(0) / 2
    return half


def _tables(
    first: Sequenced,
    second: Sequenced,
    usual: tuple[np.ndarray, np.ndarray],
    clips: tuple[np.ndarray, np.ndarray],
) -> Iterator[tuple[int, np.ndarray]]:
    """Similarities of some clips of the first with some of the second, float32, BLOCK rows at a
    time, each with the position of its first row."""
    own, other = clips
    columns = second.rows[torch.from_numpy(other)].T
    for top in range(0, len(own), BLOCK):
        some = own[top : top + BLOCK]
        table = (first.rows[torch.from_numpy(some)] @ columns).cpu().numpy()
        yield top, table - np.maximum(usual[0][some, None], usual[1][other])


def _may_share(
    first: Sequenced, second: Sequenced, usual: tuple[np.ndarray, np.ndarray], rules: Rules
) -> bool:
    """Whether some stretch of the first, each of its clips beside that which is most like it of the
    second, reaches the threshold: what no diagonal exceeds. It rules most pairs out, and soon."""
    own = nearest_clips(first.times, rules.step)
    every = np.arange(len(second.rows))
    best = [
        table.max(axis=1) - rules.threshold
        for _, table in _tables(first, second, usual, (own, every))
    ]
    sums = np.concatenate([[0.0], np.cumsum(np.concatenate(best), dtype=np.float64)])
    clips = int(np.ceil(rules.shortest / rules.step)) + 1
    if len(sums) <= clips:
        return False
    least_before = np.minimum.accumulate(sums[:-clips])
    return bool((sums[clips:] - least_before >= -1e-4 * clips).any())


def _runs(
    first: Sequenced,
    second: Sequenced,
    usual: tuple[np.ndarray, np.ndarray],
    speed: float,
    rules: Rules,
) -> Iterator[Run]:
    """All runs of one speed."""
    own = nearest_clips(first.times, rules.step)
    other = nearest_clips(second.times, rules.step / speed)
    width, height = len(other), len(own)
    # Of every diagonal, the one that ends in the lower left corner first: the sum since its run
    # began, the largest one, and the rows where these are.
    total, best = (np.zeros(width + height - 1, np.float32) for _ in range(2))
    start = np.arange(height - 1, -width, -1).clip(0)
    end = start.copy()
    least = rules.shortest / rules.step * max(1.0, speed)

    def found(diagonals: np.ndarray) -> Iterator[Run]:
        for d in diagonals.tolist():
            a, b, shift = int(start[d]), int(end[d]), d - (height - 1)
            mean = float(best[d]) / (b - a + 1) + rules.level
            if mean >= rules.threshold:
                here, there = own[[a, b]].tolist(), other[[a + shift, b + shift]].tolist()
                yield Run((here[0], here[1]), (there[0], there[1]), speed, mean, float(best[d]))

    for top, table in _tables(first, second, usual, (own, other)):
        for i, row in enumerate(table, start=top):
            here = slice(height - 1 - i, height - 1 - i + width)
            sums, largest, began, ended = (x[here] for x in (total, best, start, end))
            sums += row - np.float32(rules.level)
            is_over = (sums <= 0) | (sums < largest - rules.drop)
            yield from found(here.start + np.flatnonzero(is_over & (ended - began >= least)))
            rises = sums > largest
            largest[rises], ended[rises] = sums[rises], i
            sums[is_over], largest[is_over], began[is_over], ended[is_over] = 0, 0, i + 1, i + 1
    yield from found(np.flatnonzero(end - start >= least))


def _overlap(run: Run, other: Run, first: Sequenced, second: Sequenced) -> bool:
    """Whether two runs share more than half of the shorter one, in one of the videos."""
    pairs = ((first.times, run.first, other.first), (second.times, run.second, other.second))
    return any(_common(times[list(a)], times[list(b)]) > 0.5 for times, a, b in pairs)


def _common(a: np.ndarray, b: np.ndarray) -> float:
    """Of the shorter one of two spans of time, how much lies in the other."""
    shared = min(a[1], b[1]) - max(a[0], b[0])
    return float(shared / min(a[1] - a[0], b[1] - b[0]))
