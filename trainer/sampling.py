"""Frame-index arithmetic of clips: pure functions on whole numbers, no video.

A clip of T frames at frame stride s takes every s-th frame, so it plays at s times the speed:

    frames of the video   0 1 2 3 4 5 6 7 8 9
    T = 4, s = 2, start 1   x . x . x . x        span 7
"""

from collections.abc import Callable

import numpy as np


def clip_span(length: int, stride: int) -> int:
    """Frames from the first to the last of a clip, both counted: (length - 1) * stride + 1."""
    return (length - 1) * stride + 1


def last_start(frames: int, length: int, stride: int) -> int:
    """The last start at which the clip fits a video of `frames` frames; negative if none does."""
    return frames - clip_span(length, stride)


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


def clip_frames(
    start: int, *, length: int, stride: int, frames: int, policy: str = "loop"
) -> tuple[int, ...]:
    """Frame numbers of a clip.

    Raises ValueError if it does not fit and the policy is `error`.
    """
    past_end = POLICIES[policy]
    return tuple(past_end(start + i * stride, frames) for i in range(length))


def random_start(
    rng: np.random.Generator, *, length: int, stride: int, frames: int, policy: str = "loop"
) -> int:
    """A start drawn evenly from those that fit. If none fits: any frame under `loop` (every
    start is as good as another), else 0."""
    room = last_start(frames, length, stride)
    if room >= 0:
        return int(rng.integers(room + 1))
    return int(rng.integers(frames)) if policy == "loop" else 0


def even_starts(clips: int, *, length: int, stride: int, frames: int) -> tuple[int, ...]:
    """Starts of `clips` clips spread evenly from the first that fits to the last; the one in the
    middle for a single clip; all 0 if none fits."""
    room = max(last_start(frames, length, stride), 0)
    if clips == 1:
        return (room // 2,)
    return tuple(room * i // (clips - 1) for i in range(clips))


def two_strides(rng: np.random.Generator, strides: tuple[int, ...]) -> tuple[int, int]:
    """Two different strides in random order: one for each clip of a pair."""
    first, second = rng.choice(len(strides), size=2, replace=False)
    return strides[first], strides[second]
