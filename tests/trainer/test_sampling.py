from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.sampling import (
    POLICIES,
    Place,
    centred_start,
    clip_frames,
    clip_span,
    even_starts,
    last_start,
    random_start,
    steps,
    stored_stride,
    two_strides,
)

lengths, strides, videos = st.integers(1, 40), st.integers(1, 8), st.integers(1, 300)


def test_by_hand():
    assert clip_span(4, 2) == 7
    assert last_start(Place(4, 2, 10)) == 3
    assert clip_frames(1, Place(4, 2, 10)) == (1, 3, 5, 7)
    assert clip_frames(3, Place(4, 2, 5), "loop") == (3, 0, 2, 4)
    assert clip_frames(3, Place(4, 2, 5), "repeat_last") == (3, 4, 4, 4)
    with pytest.raises(ValueError, match="needs frame 5 of a video of 5 frames"):
        clip_frames(3, Place(4, 2, 5), "error")
    assert even_starts(4, Place(4, 2, 10)) == (0, 1, 2, 3)
    assert even_starts(1, Place(4, 2, 10)) == (1,)
    assert even_starts(3, Place(4, 2, 5)) == (0, 0, 0)
    assert centred_start(Place(4, 2, 10)) == 1
    assert centred_start(Place(4, 2, 5)) == 0


def test_strides_in_seconds_by_hand():
    assert stored_stride(1, 25, 25) == 1
    assert stored_stride(2, 30, 25) == 2.4
    assert steps(6, 2.4) == (0, 2, 5, 7, 10, 12)
    assert clip_span(6, 2.4) == 13
    assert clip_frames(1, Place(3, 0.5, 9)) == (1, 2, 2)  # 12.5 frames a second at 25: halves


@given(lengths, st.floats(0.1, 8), st.integers(0, 300))
def test_the_frame_nearest_in_time_is_taken(length, stride, start):
    clip = clip_frames(start, Place(length, stride, 10_000))
    assert all(abs(frame - start - i * stride) <= 0.5 for i, frame in enumerate(clip))
    assert clip[-1] - clip[0] + 1 == clip_span(length, stride)


@given(lengths, st.sampled_from([12.5, 25.0, 29.97, 30.0, 60.0]), strides)
def test_a_speed_lasts_as_long_in_every_video(length, fps, stride):
    seconds = (clip_span(length, stored_stride(stride, fps, 25.0)) - 1) / fps
    assert seconds == pytest.approx((length - 1) * stride / 25, abs=0.5 / fps + 1e-9)


@given(lengths, strides, videos, st.sampled_from(sorted(POLICIES)), st.integers(0, 99))
def test_random_clips_are_inside_and_keep_their_speed(length, stride, frames, policy, seed):
    place = Place(length, stride, frames)
    start = random_start(np.random.default_rng(seed), place, policy)
    fits = last_start(place) >= 0
    if policy == "error" and not fits:
        with pytest.raises(ValueError, match="a clip needs frame"):
            clip_frames(start, place, policy)
        return
    clip = clip_frames(start, place, policy)
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
    starts = even_starts(clips, Place(length, stride, frames))
    room = max(last_start(Place(length, stride, frames)), 0)
    assert len(starts) == clips
    assert list(starts) == sorted(starts)
    if clips > 1:
        assert (starts[0], starts[-1]) == (0, room)


@given(lengths, strides, videos)
def test_a_centred_clip_has_as_much_before_as_after_it(length, stride, frames):
    start, last = (
        centred_start(Place(length, stride, frames)),
        last_start(Place(length, stride, frames)),
    )
    assert start == 0 if last < 0 else 0 <= (last - start) - start <= 1


def test_every_start_that_fits_is_drawn():
    rng = np.random.default_rng(0)
    assert {random_start(rng, Place(4, 2, 10)) for _ in range(200)} == {0, 1, 2, 3}


def test_two_strides_differ_and_take_both_orders():
    rng = np.random.default_rng(0)
    assert {two_strides(rng, (1, 2)) for _ in range(50)} == {(1, 2), (2, 1)}
    assert all(a != b for a, b in (two_strides(rng, (1, 2, 4)) for _ in range(50)))


def test_two_strides_with_replacement_may_be_the_same():
    rng = np.random.default_rng(0)
    drawn = {two_strides(rng, (1, 2), replacement=True) for _ in range(100)}
    assert drawn == {(1, 1), (1, 2), (2, 1), (2, 2)}
