"""Which clips a step takes: pure functions of (seed, step, rank), before anything is read."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np

from builder.shards.dataset import Video
from trainer.data.clip_frames import (
    Place,
    clip_frames,
    clock_of,
    even_starts,
    is_short,
    random_start,
    stored_stride,
    two_strides,
)
from trainer.distributed import Rank
from trainer.errors import TrainerError
from trainer.random_streams import CLIPS, ORDER, generator_of

Times = Sequence[float] | None  # seconds of every frame, as `Video.times`


@dataclass(frozen=True)
class ClipRequest:
    """One clip to read."""

    video: int  # position in the list of videos
    frames: tuple[int, ...]  # frame numbers, T of them
    stride: int  # the playback speed, the label of SCP


@dataclass(frozen=True)
class Pairs:
    """How the two clips of a video are drawn."""

    length: int  # frames of a clip
    strides: tuple[int, ...]
    replacement: bool  # whether both clips may get the same stride
    policy: str  # what a clip does that does not fit
    seed: int


def draw_pair(
    draw: int, video: int, frames: int, rate: float, pairs: Pairs, times: Times = None
) -> tuple[ClipRequest, ClipRequest]:
    """The two clips that draw number `draw` of the run takes of a video of `frames` frames.

    `rate`: stored frames (of uneven ones, their mean intervals) a frame of stride 1, which is 1
    unless strides are in seconds. `times`: of a video of unevenly spaced frames, where strides are
    in seconds. The result depends on the arguments alone.
    """
    rng = generator_of(pairs.seed, draw, CLIPS)
    clock = clock_of(times)
    first, second = (
        _draw_clip(rng, video, Place(pairs.length, stride * rate, frames, clock), stride, pairs)
        for stride in two_strides(rng, pairs.strides, pairs.replacement)
    )
    return first, second


def _draw_clip(
    rng: np.random.Generator, video: int, place: Place, stride: int, pairs: Pairs
) -> ClipRequest:
    start = random_start(rng, place, pairs.policy)
    return ClipRequest(video, clip_frames(start, place, pairs.policy), stride)


def draws_of(batch_number: int, batch: int, rank: Rank) -> range:
    """The draws of a rank in a joint batch of `batch` videos: equal shares in rank order."""
    own = batch // rank.world
    first = batch_number * batch + rank.number * own
    return range(first, first + own)


def pair_requests(
    lengths: Sequence[int],
    rates: Sequence[float],
    batches: range,
    pairs: Pairs,
    *,
    batch: int,
    rank: Rank,
    times: Sequence[Times] | None = None,
) -> Generator[list[ClipRequest], None, None]:
    """Training clips of the joint batches with these numbers, `batch` videos each: this rank's
    share of the videos, two clips of each; the first clips of all, then the second ones.

    `lengths` are the videos' frame counts, `times` as `stride_times` gives them. Videos come in an
    endless row of permutations, so all are seen equally often and every batch is full however few
    there are. What batch i gets depends on (seed, i) alone, and does not change with the number of
    ranks.
    """
    shuffled = Permutations(len(lengths), pairs.seed)
    for number in batches:
        drawn = [(draw, shuffled[draw]) for draw in draws_of(number, batch, rank)]
        both = [
            draw_pair(draw, v, lengths[v], rates[v], pairs, times[v] if times else None)
            for draw, v in drawn
        ]
        yield [first for first, _ in both] + [second for _, second in both]


class Permutations:
    """Entry i of an endless row of permutations of 0 .. count - 1."""

    def __init__(self, count: int, seed: int) -> None:
        self._count, self._seed = count, seed
        self._epoch, self._order = -1, np.empty(0, np.int64)

    def __getitem__(self, draw: int) -> int:
        epoch, place = divmod(draw, self._count)
        if epoch != self._epoch:
            self._epoch = epoch
            self._order = generator_of(self._seed, epoch, ORDER).permutation(self._count)
        return int(self._order[place])


def even_requests(
    video: int,
    frames: int,
    rate: float,
    *,
    clips: int,
    clip_length: int,
    stride: int,
    policy: str,
    times: Times = None,
) -> list[ClipRequest]:
    """`clips` evenly spaced clips of a video, the same on every call. `rate` and `times` as in
    `draw_pair`."""
    place = Place(clip_length, stride * rate, frames, clock_of(times))
    return [
        ClipRequest(video, clip_frames(start, place, policy), stride)
        for start in even_starts(clips, place)
    ]


def count_short(
    lengths: Sequence[int],
    rates: Sequence[float],
    clip_length: int,
    strides: tuple[int, ...],
    times: Sequence[Times] | None = None,
) -> int:
    """How many videos are too short for a clip at the largest stride. `times` as `stride_times`
    gives them."""
    of_all = times or [None] * len(lengths)
    return sum(
        is_short(clip_length, max(strides) * rate, length, own)
        for length, rate, own in zip(lengths, rates, of_all, strict=True)
    )


def stride_rates(videos: Sequence[Video], fps: float) -> list[float]:
    """Stored frames a frame of stride 1: 1 for all videos, or their own rate over `fps` where
    strides count frames at so many a second. Raises TrainerError for a video of unknown rate."""
    if not fps:
        return [1.0] * len(videos)
    unknown = [video.name for video in videos if not video.fps]
    if unknown:
        raise TrainerError(
            f"{len(unknown)} of {len(videos)} videos have no known frame rate, such as "
            f"{unknown[0]}, and strides count frames at {fps:g} a second. Count stored frames "
            "instead (--set data.fps=0 when training, --set fps=0 when evaluating), or build the "
            "data set with --fps."
        )
    return [stored_stride(1, video.fps or fps, fps) for video in videos]


def stride_times(videos: Sequence[Video], fps: float) -> list[Times] | None:
    """The frame times that strides follow, of every video (None: evenly spaced); None if no video
    has any, or strides count stored frames."""
    if not fps or all(video.times is None for video in videos):
        return None
    return [video.times for video in videos]
