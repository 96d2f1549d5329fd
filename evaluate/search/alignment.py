"""Alignment: find the parts that two videos share, also at different playback speeds.

Both videos are sequences of clips, evenly spaced in time. A shared part is a diagonal in the table
of their clips' similarities (rows: clips of the first video, columns: of the second) whose slope is
the playback speed. For each speed, the second video is sampled at that speed, so that all diagonals
are at 45 degrees. Along each diagonal, the runs with the largest sum of (similarity - level) are
found: a run restarts when its sum is no longer positive, and ends when the sum has fallen by `drop`
from its maximum. Of runs that overlap in one of the videos, only the one with the largest sum is
kept: a moment of a video corresponds to one moment of the other.

The similarity of two clips is their cosine minus half of the cosine that is usual with the other
video: that of the last of its nearest clips that fill WIDTH seconds. Darkness or a still picture
resembles a whole stretch of video, which does not tell where it belongs.

Tables are computed in blocks of BLOCK clips of one video.
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
    """A video's clips in temporal order.

    Attributes:
        rows: float32, clips x channels, of length 1
        times: float64, clips: start times in seconds, ascending
    """

    rows: torch.Tensor
    times: np.ndarray


@dataclass(frozen=True)
class Rules:
    """What counts as a shared part.

    Attributes:
        step: seconds between clips
        threshold: minimum mean similarity of a part
        shortest: minimum time in seconds from the first to the last clip, in both videos
        level: similarity that counts neither for nor against a part
        drop: by how much a run's sum of (similarity - level) may fall below its maximum
    """

    step: float
    threshold: float
    shortest: float
    level: float
    drop: float


@dataclass(frozen=True)
class Run:
    """Consecutive clips of two videos that show the same.

    Attributes:
        first: positions of the first and last clip in the first video
        second: the same in the second video
        speed: playback speed of the second video relative to the first, one of SPEEDS
        similarity: mean similarity of the clips
        score: sum of (similarity - level)
    """

    first: tuple[int, int]
    second: tuple[int, int]
    speed: float
    similarity: float
    score: float


def align(first: Sequenced, second: Sequenced, rules: Rules) -> list[Run]:
    """The parts that two videos share, without overlaps, the one with the largest sum first."""
    if not len(first.times) or not len(second.times):
        return []
    usual = _usual(first, second, rules.step), _usual(second, first, rules.step)
    if not _may_share(first, second, usual, rules):
        return []
    runs = [run for speed in SPEEDS for run in _runs(first, second, usual, speed, rules)]
    runs.sort(key=lambda run: (-run.score, SPEEDS.index(run.speed), run.first, run.second))
    best: list[Run] = []
    for run in runs:
        if not any(_overlap(run, other, first, second) for other in best):
            best.append(run)
    return best


def nearest_clips(times: np.ndarray, step: float) -> np.ndarray:
    """int64: positions of the clips nearest to the time of the first clip, `step` seconds later,
    and so on up to the last clip."""
    moments = times[0] + step * np.arange(1 + int((times[-1] - times[0]) / step + 1e-6))
    if len(times) == 1:
        return np.zeros(1, np.int64)
    after = np.searchsorted(times, moments).clip(1, len(times) - 1)
    is_before = moments - times[after - 1] <= times[after] - moments
    nearest: np.ndarray = np.where(is_before, after - 1, after)
    return nearest


def _usual(one: Sequenced, other: Sequenced, step: float) -> np.ndarray:
    """float32, clips of `one`: half the cosine with the last of the nearest clips of the other
    video that fill WIDTH seconds."""
    place = min(max(1, round(WIDTH / step)), len(other.rows))
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
    """Similarities of clips of the first video with clips of the second, float32, in blocks of
    BLOCK rows, each with the position of its first row."""
    of_first, of_second = clips
    columns = second.rows[torch.from_numpy(of_second)].T
    for top in range(0, len(of_first), BLOCK):
        some = of_first[top : top + BLOCK]
        table = (first.rows[torch.from_numpy(some)] @ columns).cpu().numpy()
        yield top, table - np.maximum(usual[0][some, None], usual[1][of_second])


def _may_share(
    first: Sequenced, second: Sequenced, usual: tuple[np.ndarray, np.ndarray], rules: Rules
) -> bool:
    """Whether some stretch of the first video reaches the threshold when each of its clips is
    paired with the most similar clip of the second. This is an upper bound for every diagonal, and
    quickly rules out most pairs."""
    of_first = nearest_clips(first.times, rules.step)
    every = np.arange(len(second.rows))
    best = [
        table.max(axis=1) - rules.threshold
        for _, table in _tables(first, second, usual, (of_first, every))
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
    """All runs at one speed."""
    of_first = nearest_clips(first.times, rules.step)
    of_second = nearest_clips(second.times, rules.step / speed)
    width, height = len(of_second), len(of_first)
    # For each diagonal, starting with the one in the lower left corner: the sum of its current run,
    # the maximum of that sum, and the rows at which the run began and had its maximum.
    total, best = (np.zeros(width + height - 1, np.float32) for _ in range(2))
    start = np.arange(height - 1, -width, -1).clip(0)
    end = start.copy()
    least = rules.shortest / rules.step * max(1.0, speed)

    def found(diagonals: np.ndarray) -> Iterator[Run]:
        for d in diagonals.tolist():
            a, b, shift = int(start[d]), int(end[d]), d - (height - 1)
            mean = float(best[d]) / (b - a + 1) + rules.level
            if mean >= rules.threshold:
                here, there = of_first[[a, b]].tolist(), of_second[[a + shift, b + shift]].tolist()
                yield Run((here[0], here[1]), (there[0], there[1]), speed, mean, float(best[d]))

    for top, table in _tables(first, second, usual, (of_first, of_second)):
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
    """The share of the shorter of two time spans that lies in the other."""
    shared = min(a[1], b[1]) - max(a[0], b[0])
    return float(shared / min(a[1] - a[0], b[1] - b[0]))
