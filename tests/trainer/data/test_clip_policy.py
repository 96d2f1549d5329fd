from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.config.settings import SHORT_VIDEOS
from trainer.data.clip_policy import (
    POLICIES,
    Place,
    centred_start,
    clip_frames,
    clip_span,
    clock_of,
    even_starts,
    even_starts_in,
    is_short,
    last_start,
    random_start,
    starts_apart,
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


@st.composite
def uneven(draw):
    """Times of a video whose intervals are from a hundredth of a second to two hours."""
    gaps = draw(st.lists(st.sampled_from([0.01, 0.033, 0.034, 0.2, 1.0, 7200.0]), min_size=1))
    return tuple(np.concatenate([[0.0], np.cumsum(gaps)]).tolist())


def test_the_nearest_frame_in_time():
    clock = np.array([0, 0.4, 0.8, 1.2, 1.6, 5])
    place = Place(4, 1.2, 6, clock)
    assert clip_frames(0, place) == (0, 3, 4, 5)
    assert clip_frames(3, place, "repeat_last") == (3, 4, 5, 5)  # 1.2, 2.4, 3.6, 4.8
    assert clip_frames(4, place, "repeat_last") == (4, 4, 5, 5)  # 1.6, 2.8, 4.0, 5.2
    assert clip_frames(5, Place(4, 1.5, 6, clock)) == (5, 1, 4, 5)  # 5, 0.5, 2 and 3.5 of 6
    assert clip_frames(5, place, "repeat_last") == (5, 5, 5, 5)
    with pytest.raises(ValueError, match="frame 7 of a video of 6 frames"):
        clip_frames(5, place, "error")
    assert last_start(place) == 4  # 1.6 + 3.6 is nearest to the last frame
    assert even_starts(3, Place(1, 1.0, 6, clock)) == (0, 4, 5)  # 0, 2.5 and 5
    assert centred_start(Place(1, 1.0, 6, clock)) == 4


@given(uneven(), st.integers(1, 20), st.floats(0.01, 4.0), st.integers(0, 9), st.data())
def test_no_frame_is_off_by_more_than_half_an_interval(times, length, stride, clips, data):
    clock, frames = clock_of(times), len(times)
    assert (clock[0], clock[-1]) == (0, frames - 1)
    place = Place(length, stride, frames, clock)
    last = last_start(place)
    assert is_short(length, stride, frames, times) == (last < 0)
    start = data.draw(st.integers(0, frames - 1))
    wanted = clock[start] + np.arange(length) * stride
    shown = clock[list(clip_frames(start, place, "repeat_last"))]
    nearest = abs(clock[None] - np.minimum(wanted, clock[-1])[:, None]).min(axis=1)
    assert abs(abs(shown - np.minimum(wanted, clock[-1])) - nearest).max() < 1e-9
    looped = clock[list(clip_frames(start, place, "loop"))]
    end = clock[-1] + min(clock[-1] - clock[-2], 1)  # the last frame's
    rest = wanted % end
    apart = np.minimum(abs(looped - rest), end - rest + looped)  # the first one follows the last
    assert (apart <= np.diff(clock).max() / 2 + 1e-9).all()
    if start <= last:
        clip_frames(start, place, "error")
    else:
        with pytest.raises(ValueError):
            clip_frames(start, place, "error")
    starts = even_starts(clips + 2, place)
    assert list(starts) == sorted(starts) and len(starts) == clips + 2
    assert (starts[0], starts[-1]) == (0, max(last, 0))


@given(st.integers(2, 300), st.integers(1, 20), st.integers(1, 4), st.integers(0, 10**6))
def test_a_clock_of_even_times_changes_nothing(frames, length, stride, seed):
    even = Place(length, stride, frames)
    timed = Place(length, stride, frames, clock_of([i / 25 for i in range(frames)]))
    assert max(last_start(timed), -1) == max(last_start(even), -1)
    for policy in ("loop", "repeat_last"):
        start = random_start(np.random.default_rng(seed), even, policy)
        assert random_start(np.random.default_rng(seed), timed, policy) == start
        assert clip_frames(start, timed, policy) == clip_frames(start, even, policy)


def test_starts_apart_in_time():
    clock = np.array([0, 0.5, 1, 1.5, 2, 3, 3.2, 3.4, 8, 9])
    assert starts_apart(1.0, Place(1, 1, 10, clock), clock) == (0, 2, 4, 5, 7, 8, 9)
    assert starts_apart(1.0, Place(1, 1, 10), clock) == (0, 2, 4, 5, 7, 8, 9)  # strides in frames
    assert starts_apart(3.0, Place(4, 1, 10), clock) == (
        0,
        6,
    )  # the last one that fits, of 4 frames
    assert starts_apart(20.0, Place(1, 1, 10, clock), clock) == (7,)
    assert starts_apart(1.0, Place(20, 1, 10, clock), clock) == (0,)


def test_a_frame_that_is_shown_for_years_is_one_start():
    times = (0.0, 1.0, 2.0, 3e9, 3e9 + 1, 3e9 + 2)
    clock = clock_of(times)
    interval = 5 / times[-1]  # a second
    assert starts_apart(interval, Place(1, 1, 6, clock), clock) == (0, 1, 2, 3, 4, 5)


def test_a_recipe_may_name_every_policy_and_no_other():
    assert set(SHORT_VIDEOS) == set(POLICIES)


def test_shots_by_hand():
    whole = Place(4, 1, 10, clock_of([0, 1, 2, 3, 4, 9, 10, 11, 12, 18]))
    first, second, third = whole.shots((5, 9))
    assert [(shot.first, shot.frames) for shot in (first, second, third)] == [
        (0, 5),
        (5, 4),
        (9, 1),
    ]
    assert second.clock.tolist() == [0, 0.5, 1, 1.5] and third.clock is None
    assert clip_frames(0, replace(second, stride=0.5)) == (5, 6, 7, 8)
    assert clip_frames(1, replace(second, clock=None)) == (6, 7, 8, 5)
    assert clip_frames(0, third) == (9, 9, 9, 9)
    assert whole.shots(()) == [whole]


def test_starts_are_spread_over_the_shots_in_which_a_clip_fits():
    shots = Place(4, 1, 20).shots((6, 8))  # 3 starts, none, and 9
    spread = even_starts_in(12, shots)
    assert [shot.first + start for start, shot in spread] == [0, 1, 2, *range(8, 17)]
    short = Place(9, 1, 20).shots((6, 12))
    assert {(start, shot.first) for start, shot in even_starts_in(5, short)} == {
        (0, 0),
        (0, 6),
        (0, 12),
    }
