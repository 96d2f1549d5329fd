from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.sampling import (
    POLICIES,
    clip_frames,
    clip_span,
    even_starts,
    last_start,
    random_start,
    two_strides,
)

lengths, strides, videos = st.integers(1, 40), st.integers(1, 8), st.integers(1, 300)


def test_by_hand():
    assert clip_span(4, 2) == 7
    assert last_start(10, 4, 2) == 3
    assert clip_frames(1, length=4, stride=2, frames=10) == (1, 3, 5, 7)
    assert clip_frames(3, length=4, stride=2, frames=5, policy="loop") == (3, 0, 2, 4)
    assert clip_frames(3, length=4, stride=2, frames=5, policy="repeat_last") == (3, 4, 4, 4)
    with pytest.raises(ValueError, match="needs frame 5 of a video of 5 frames"):
        clip_frames(3, length=4, stride=2, frames=5, policy="error")
    assert even_starts(4, length=4, stride=2, frames=10) == (0, 1, 2, 3)
    assert even_starts(1, length=4, stride=2, frames=10) == (1,)
    assert even_starts(3, length=4, stride=2, frames=5) == (0, 0, 0)


@given(lengths, strides, videos, st.sampled_from(sorted(POLICIES)), st.integers(0, 99))
def test_random_clips_are_inside_and_keep_their_speed(length, stride, frames, policy, seed):
    rng = np.random.default_rng(seed)
    start = random_start(rng, length=length, stride=stride, frames=frames, policy=policy)
    fits = last_start(frames, length, stride) >= 0
    if policy == "error" and not fits:
        with pytest.raises(ValueError, match="a clip needs frame"):
            clip_frames(start, length=length, stride=stride, frames=frames, policy=policy)
        return
    clip = clip_frames(start, length=length, stride=stride, frames=frames, policy=policy)
    assert len(clip) == length
    assert all(0 <= frame < frames for frame in clip)
    if fits:
        assert set(np.diff(clip)) <= {stride}
    elif policy == "loop":
        assert all((b - a) % frames == stride % frames for a, b in pairwise(clip))
    else:
        assert clip[-1] == frames - 1


@given(lengths, strides, videos, st.integers(1, 12))
def test_even_starts_rise_from_the_first_to_the_last_that_fits(length, stride, frames, clips):
    starts = even_starts(clips, length=length, stride=stride, frames=frames)
    room = max(last_start(frames, length, stride), 0)
    assert len(starts) == clips
    assert list(starts) == sorted(starts)
    if clips > 1:
        assert (starts[0], starts[-1]) == (0, room)


def test_every_start_that_fits_is_drawn():
    rng = np.random.default_rng(0)
    place = {"length": 4, "stride": 2, "frames": 10}
    assert {random_start(rng, **place) for _ in range(200)} == {0, 1, 2, 3}


def test_two_strides_differ_and_take_both_orders():
    rng = np.random.default_rng(0)
    assert {two_strides(rng, (1, 2)) for _ in range(50)} == {(1, 2), (2, 1)}
    assert all(a != b for a, b in (two_strides(rng, (1, 2, 4)) for _ in range(50)))
