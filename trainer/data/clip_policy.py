"""Frame-index arithmetic of clips: pure functions on numbers, no video.

A clip of T frames at frame stride s takes every s-th frame, so it plays at s times the speed:

    frames of the video   0 1 2 3 4 5 6 7 8 9
    T = 4, s = 2, start 1   x . x . x . x        span 7

Where speeds are in seconds, the stride is a fraction, and the nearest frame is taken:

    T = 4, s = 1.2, start 0 x x x .   x          0, 1.2, 2.4, 3.6

Where frames are unevenly spaced as well, a clock says when each is shown, in mean intervals: of
evenly spaced ones frame i is shown at i. The nearest frame in time is taken:

    clock                   0 0.4 0.8 1.2 1.6 5
    T = 4, s = 1.2, start 0 x  .   .   x   x x   0, 1.2, 2.4, 3.6

Where cuts are known, a clip is cut from one shot of the video as if that were all of it. Starts
count from the shot's first frame:

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
    """A clip's length and stride, and the length of the video or shot that it is to be cut from.
    Where frames are unevenly spaced and strides are in seconds, it has a clock.

    Attributes:
        length: frames of the clip
        stride: a whole number, unless strides are in seconds
        frames: of the video, or of the shot
        clock: float64, frames: as `clock_of`; None: frame i is shown at i
        first: the frame of the video at which the shot begins
    """

    length: int
    stride: float
    frames: int
    clock: np.ndarray | None = None
    first: int = 0

    def shots(self, cuts: Sequence[int]) -> list["Place"]:
        """Where the clip may lie in each shot of the video. `cuts`: the frames at which a new one
        begins; with none, the video is one shot."""
        if not cuts:
            return [self]
        return [
            replace(self, frames=end - first, clock=part_of(self.clock, first, end), first=first)
            for first, end in pairwise([0, *cuts, self.frames])
        ]


def stored_stride(stride: int, video_fps: float, fps: float) -> float:
    """Frames of a video at `video_fps` that pass while `stride` frames pass at `fps` frames a
    second: the stride that plays every video at the same speed, whatever its native rate."""
    return stride * video_fps / fps


def clock_of(times: Sequence[float] | None) -> np.ndarray | None:
    """When each frame is shown, in mean intervals between two: 0 to frames - 1 (float64, frames).
    `times` are in seconds and rise from 0; None, for evenly spaced frames, stays None."""
    if times is None:
        return None
    seconds = np.asarray(times, np.float64)
    clock: np.ndarray = seconds / seconds[-1] * (len(seconds) - 1)
    return clock


def part_of(clock: np.ndarray | None, first: int, end: int) -> np.ndarray | None:
    """The clock of the frames from `first` to `end` - 1, from 0 on; None for one frame, too."""
    return None if clock is None or end - first < 2 else clock[first:end] - clock[first]


def nearest_frames(clock: np.ndarray, moments: np.ndarray) -> np.ndarray:
    """The number (int64) of the frame that is nearest to each moment, the later one of two. After
    the last frame's interval come the numbers of frames that a video would have that went on."""
    laps, rest = np.divmod(moments, _end(*clock[-2:]))
    within = np.searchsorted(_bounds(clock), rest, side="right")
    numbers: np.ndarray = laps.astype(np.int64) * len(clock) + within
    return numbers


def _bounds(clock: np.ndarray) -> np.ndarray:
    """The moments at which the next frame gets to be the nearest one; after the last frame the
    video's end counts as one."""
    bounds: np.ndarray = (clock + np.append(clock[1:], _end(*clock[-2:]))) / 2
    return bounds


def _end(before_last: float, last: float) -> float:
    """When the last frame of a clock ends: it lasts as long as the one before it, but not longer
    than frames do on average."""
    return last + min(last - before_last, 1)


def steps(length: int, stride: float) -> tuple[int, ...]:
    """Frame numbers of a clip, counted from its first: i * stride, rounded (halves up)."""
    if stride == (whole := int(stride)) and whole:
        return tuple(range(0, length * whole, whole))
    return tuple(math.floor(i * stride + 0.5) for i in range(length))


def clip_span(length: int, stride: float) -> int:
    """Frames from the first to the last of a clip, both counted: (length - 1) * stride + 1."""
    return math.floor((length - 1) * stride + 0.5) + 1


def last_start(place: Place) -> int:
    """The last start at which the clip fits its video; negative if none does."""
    if place.clock is not None:
        ends = place.clock + (place.length - 1) * place.stride
        return int(np.searchsorted(ends, _bounds(place.clock)[-1])) - 1
    return place.frames - clip_span(place.length, place.stride)


def is_short(length: int, stride: float, frames: int, times: Sequence[float] | None) -> bool:
    """Whether a clip fits its video nowhere: `last_start` is negative. It makes no clock of `times`
    for that, for there may be many videos."""
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


# What a clip does that runs past the end. Its stride, and so its speed, is never changed.
POLICIES: dict[str, Callable[[int, int], int]] = {
    "loop": _loop,
    "repeat_last": _repeat_last,
    "error": _error,
}


def clip_frames(start: int, place: Place, policy: str = "loop") -> tuple[int, ...]:
    """Frame numbers of a clip.

    Raises ValueError if it does not fit and the policy is `error`.
    """
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
    """A start drawn evenly from those that fit. If none fits: any frame under `loop` (every
    start is as good as another), else 0."""
    room = last_start(place)
    if room >= 0:
        return int(rng.integers(room + 1))
    return int(rng.integers(place.frames)) if policy == "loop" else 0


def starts_in(shots: Sequence[Place]) -> list[int]:
    """How many starts each shot has at which the clip fits. If it fits none, all of their frames
    count as one."""
    starts = [max(last_start(shot) + 1, 0) for shot in shots]
    return starts if any(starts) else [shot.frames for shot in shots]


def random_shot(rng: np.random.Generator, shots: Sequence[Place]) -> int:
    """The position of a shot, drawn as often as it has starts."""
    ends = np.cumsum(starts_in(shots))
    return int(np.searchsorted(ends, rng.integers(ends[-1]), side="right"))


def centred_start(place: Place) -> int:
    """The start of the clip in the middle of the video; 0 if it does not fit."""
    last = max(last_start(place), 0)
    if place.clock is not None:
        return int(nearest_frames(place.clock, place.clock[last] / 2))
    return last // 2


def even_starts(clips: int, place: Place) -> tuple[int, ...]:
    """Starts of `clips` clips spread evenly from the first that fits to the last; the one in the
    middle for a single clip; all 0 if none fits."""
    if clips == 1:
        return (centred_start(place),)
    last = max(last_start(place), 0)
    if place.clock is not None:
        moments = place.clock[last] * np.arange(clips) / (clips - 1)
        return tuple(nearest_frames(place.clock, moments).tolist())
    return tuple(last * i // (clips - 1) for i in range(clips))


def even_starts_in(clips: int, shots: Sequence[Place]) -> list[tuple[int, Place]]:
    """As `even_starts`, over all starts of all shots: each with the shot that it is of."""
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
    """Starts of clips about `interval` (mean intervals of `clock`) apart in time, from the first
    that fits to the last, each frame once, however long it is shown; the one in the middle where
    there is room for one."""
    last = max(last_start(place), 0)
    clips = 1 + round(clock[last] / interval)
    if clips == 1:
        return (int(nearest_frames(clock, clock[last] / 2)),)
    step = clock[last] / (clips - 1)
    # A frame is a start if a multiple of `step` is nearest to it. A frame may be shown for hours,
    # so these are not listed: there would be too many.
    bounds = _bounds(clock)[:last] / step
    before = np.concatenate([[0], np.ceil(bounds), [clips]])  # multiples nearest to earlier frames
    return tuple(np.flatnonzero(np.diff(before)).tolist())


def two_strides(
    rng: np.random.Generator, strides: tuple[int, ...], replacement: bool = False
) -> tuple[int, int]:
    """A stride for each clip of a pair, in random order: two different ones, or with replacement
    two that may be the same."""
    first, second = rng.choice(len(strides), size=2, replace=replacement)
    return strides[first], strides[second]
