"""Frame-index arithmetic of clips: pure functions on numbers; no video is read.

A clip of T frames at frame stride s takes every s-th frame, so it plays at s times the speed:

    frames of the video   0 1 2 3 4 5 6 7 8 9
    T = 4, s = 2, start 1   x . x . x . x        span 7

Where strides follow seconds, they are fractions, and the nearest frame is taken:

    T = 4, s = 1.2, start 0 x x x .   x          0, 1.2, 2.4, 3.6

Where frames are unevenly spaced as well, a clock holds the time of each frame in units of the mean
frame interval (i for frame i of evenly spaced ones). The nearest frame in time is taken:

    clock                   0 0.4 0.8 1.2 1.6 5
    T = 4, s = 1.2, start 0 x  .   .   x   x x   0, 1.2, 2.4, 3.6

Where cuts are known, a clip is taken from one shot of the video as if the shot were the whole
video. Starts count from the shot's first frame:

    frames of the video     0 1 2 3 4|5 6 7 8 9
    T = 4, s = 1, start 1             . x x x x
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np


@dataclass(frozen=True)
class Place:
    """A clip's length and stride, and the video or shot that it is taken from.

    Attributes:
        length: number of frames in the clip
        stride: in frames; a whole number, unless strides follow seconds
        frames: number of frames in the video or shot
        clock: float64, frames: as by `clock_of`, where strides follow seconds and frames are
            unevenly spaced; None: frame i is shown at time i
        first: the frame of the video at which the shot begins
    """

    length: int
    stride: float
    frames: int
    clock: np.ndarray | None = None
    first: int = 0

    def shots(self, cuts: Sequence[int]) -> list["Place"]:
        """The place in each shot of the video. `cuts`: the frames at which new shots begin; without
        any, the video is one shot."""
        if not cuts:
            return [self]
        return [
            replace(self, frames=end - first, clock=part_of(self.clock, first, end), first=first)
            for first, end in pairwise([0, *cuts, self.frames])
        ]


def stored_stride(stride: int, video_fps: float, fps: float) -> float:
    """The stride in stored frames, for a video at `video_fps`, that spans the same time as `stride`
    frames at `fps`; with it, all videos play at the same speed, whatever their native rate."""
    return stride * video_fps / fps


def clock_of(times: Sequence[float] | None) -> np.ndarray | None:
    """The time of each frame in units of the mean frame interval, 0 to frames - 1 (float64,
    frames). `times` are in seconds and increase from 0; None stands for evenly spaced frames."""
    if times is None:
        return None
    seconds = np.asarray(times, np.float64)
    clock: np.ndarray = seconds / seconds[-1] * (len(seconds) - 1)
    return clock


def part_of(clock: np.ndarray | None, first: int, end: int) -> np.ndarray | None:
    """The clock of the frames `first` to `end` - 1, starting at 0; None also for a single frame."""
    return None if clock is None or end - first < 2 else clock[first:end] - clock[first]


def nearest_frames(clock: np.ndarray, moments: np.ndarray) -> np.ndarray:
    """The number (int64) of the frame nearest to each moment; of two equally near, the later one.
    Moments after the last frame's interval get the numbers that the frames of a repeated video
    would have."""
    laps, rest = np.divmod(moments, _end(*clock[-2:]))
    within = np.searchsorted(_bounds(clock), rest, side="right")
    numbers: np.ndarray = laps.astype(np.int64) * len(clock) + within
    return numbers


def _bounds(clock: np.ndarray) -> np.ndarray:
    """The moments from which the next frame is the nearest one, one per frame; the end of the video
    counts as the frame after the last."""
    bounds: np.ndarray = (clock + np.append(clock[1:], _end(*clock[-2:]))) / 2
    return bounds


def _end(before_last: float, last: float) -> float:
    """When the last frame of a clock ends: it lasts as long as the frame before it, but at most one
    mean interval."""
    return last + min(last - before_last, 1)


def steps(length: int, stride: float) -> tuple[int, ...]:
    """Frame numbers of a clip relative to its first: i * stride, rounded (halves up)."""
    if stride == (whole := int(stride)) and whole:
        return tuple(range(0, length * whole, whole))
    return tuple(math.floor(i * stride + 0.5) for i in range(length))


def clip_span(length: int, stride: float) -> int:
    """Number of frames from the first to the last of a clip, inclusive: (length - 1) * stride + 1,
    rounded (halves up)."""
    return math.floor((length - 1) * stride + 0.5) + 1


def last_start(place: Place) -> int:
    """The last start at which the clip fits its video or shot; negative if there is none."""
    if place.clock is not None:
        ends = place.clock + (place.length - 1) * place.stride
        return int(np.searchsorted(ends, _bounds(place.clock)[-1])) - 1
    return place.frames - clip_span(place.length, place.stride)


def is_short(length: int, stride: float, frames: int, times: Sequence[float] | None) -> bool:
    """Whether a clip does not fit its video, that is, `last_start` is negative. Does not convert
    `times` to a clock, as it is called for every video."""
    if times is None:
        return last_start(Place(length, stride, frames)) < 0
    last = len(times) - 1
    end = _end(times[-2] / times[-1] * last, last)
    return (length - 1) * stride >= (last + end) / 2


def _loop(index: int, frames: int) -> int:
    return index % frames  # frames = 3: 0 1 2 3 4 -> 0 1 2 0 1


def _repeat_last(index: int, frames: int) -> int:
    return min(index, frames - 1)  # frames = 3: 0 1 2 3 4 -> 0 1 2 2 2


def _error(index: int, frames: int) -> int:
    if index >= frames:
        raise ValueError(
            f"a clip needs frame {index} of a video of {frames} frames; allow it with the policy "
            "loop or repeat_last, or leave the video out"
        )
    return index


# What happens to frames past the end of the video. The stride, and so the speed, never changes.
POLICIES: dict[str, Callable[[int, int], int]] = {
    "loop": _loop,
    "repeat_last": _repeat_last,
    "error": _error,
}


def clip_frames(start: int, place: Place, policy: str = "loop") -> tuple[int, ...]:
    """Frame numbers of the clip that starts at frame `start` of the place's video or shot, counted
    in the video. Raises ValueError if it does not fit and the policy is `error`."""
    past_end = POLICIES[policy]
    if place.clock is not None:
        moments = place.clock[start] + np.arange(place.length) * place.stride
        numbers = nearest_frames(place.clock, moments).tolist()
    else:
        numbers = [start + i for i in steps(place.length, place.stride)]
    if numbers[-1] >= place.frames:
        numbers = [past_end(number, place.frames) for number in numbers]
    return tuple(place.first + number for number in numbers) if place.first else tuple(numbers)


def random_start(rng: np.random.Generator, place: Place, policy: str = "loop") -> int:
    """Draw a start uniformly from those at which the clip fits. If there is none: any frame under
    `loop` (all starts are equally good), else 0."""
    room = last_start(place)
    if room >= 0:
        return int(rng.integers(room + 1))
    return int(rng.integers(place.frames)) if policy == "loop" else 0


def starts_in(shots: Sequence[Place]) -> list[int]:
    """The number of starts in each shot at which the clip fits. If it fits no shot, every frame
    counts as a start."""
    starts = [max(last_start(shot) + 1, 0) for shot in shots]
    return starts if any(starts) else [shot.frames for shot in shots]


def random_shot(rng: np.random.Generator, shots: Sequence[Place]) -> int:
    """Draw the position of a shot, with probability proportional to its number of starts."""
    ends = np.cumsum(starts_in(shots))
    return int(np.searchsorted(ends, rng.integers(ends[-1]), side="right"))


def centred_start(place: Place) -> int:
    """The start of the clip in the middle of the video; 0 if it does not fit."""
    last = max(last_start(place), 0)
    if place.clock is not None:
        return int(nearest_frames(place.clock, place.clock[last] / 2))
    return last // 2


def even_starts(clips: int, place: Place) -> tuple[int, ...]:
    """Starts of `clips` clips, evenly spaced from the first that fits to the last; the centred one
    for a single clip; all 0 if none fits."""
    if clips == 1:
        return (centred_start(place),)
    last = max(last_start(place), 0)
    if place.clock is not None:
        moments = place.clock[last] * np.arange(clips) / (clips - 1)
        return tuple(nearest_frames(place.clock, moments).tolist())
    return tuple(last * i // (clips - 1) for i in range(clips))


def even_starts_in(clips: int, shots: Sequence[Place]) -> list[tuple[int, Place]]:
    """As `even_starts`, over the starts of all shots; each start comes with its shot."""
    if len(shots) == 1:
        return [(start, shots[0]) for start in even_starts(clips, shots[0])]
    ends = np.cumsum(starts_in(shots)).tolist()
    chosen = []
    for at in even_starts(clips, Place(1, 1, ends[-1])):
        number = bisect_right(ends, at)
        start = at - (ends[number - 1] if number else 0)
        chosen.append((start if last_start(shots[number]) >= 0 else 0, shots[number]))
    return chosen


def starts_apart(interval: float, place: Place, clock: np.ndarray) -> tuple[int, ...]:
    """Starts of clips about `interval` apart in time (in mean frame intervals), from the first that
    fits to the last. Each frame is at most one start, however long it is shown. If the interval
    leaves room for one clip only, its start is the centred one."""
    last = max(last_start(place), 0)
    clips = 1 + round(clock[last] / interval)
    if clips == 1:
        return (int(nearest_frames(clock, clock[last] / 2)),)
    step = clock[last] / (clips - 1)
    # A frame is a start if it is the nearest one to some multiple of `step`. The multiples are
    # counted, not listed: a frame may be shown for hours, and there would be too many.
    bounds = _bounds(clock)[:last] / step
    before = np.concatenate([[0], np.ceil(bounds), [clips]])  # multiples nearest to earlier frames
    return tuple(np.flatnonzero(np.diff(before)).tolist())


def two_strides(
    rng: np.random.Generator, strides: tuple[int, ...], replacement: bool = False
) -> tuple[int, int]:
    """Draw the strides of the two clips of a pair: two different ones, or with `replacement` two
    that may be equal."""
    first, second = rng.choice(len(strides), size=2, replace=replacement)
    return strides[first], strides[second]
