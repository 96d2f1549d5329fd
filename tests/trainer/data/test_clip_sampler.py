from dataclasses import replace
from hashlib import sha256
from itertools import islice

import numpy as np
import pytest

from trainer.data.clip_sampler import (
    Pairs,
    count_short,
    draw_pair,
    draws_of,
    even_requests,
    pair_requests,
    stride_rates,
    stride_times,
)
from trainer.distributed import ALONE, Rank
from trainer.errors import TrainerError

PAIRS = Pairs(length=8, strides=(1, 2), replacement=False, policy="loop", seed=3)


def requests(lengths, batches, pairs=PAIRS, rank=ALONE, batch=4, rate=1.0):
    rates = [rate] * len(lengths)
    return pair_requests(lengths, rates, batches, pairs, batch=batch, rank=rank)


def test_pairs_are_one_video_at_two_speeds():
    for clips in requests([30] * 10, range(5)):
        assert len(clips) == 8
        for first, second in zip(clips[:4], clips[4:], strict=True):
            assert first.video == second.video
            assert {first.stride, second.stride} == {1, 2}
            assert set(np.diff(first.frames)) == {first.stride}


def test_every_video_once_an_epoch_in_another_order():
    drawn = [request.video for clips in requests([30] * 12, range(6)) for request in clips[:4]]
    first, second = drawn[:12], drawn[12:]
    assert sorted(first) == sorted(second) == list(range(12))
    assert first != second


def test_what_a_batch_gets_depends_on_its_number_alone():
    lengths = [20, 30, 5, 40, 8]
    everything = list(requests(lengths, range(9)))
    assert list(requests(lengths, range(4, 9))) == everything[4:]
    assert list(requests(lengths, range(9), replace(PAIRS, seed=4))) != everything


@pytest.mark.parametrize("world", [2, 4])
def test_the_ranks_share_the_batch_of_one(world):
    lengths = [20, 30, 5, 40, 8]
    alone = list(requests(lengths, range(5), batch=8))
    shared = [list(requests(lengths, range(5), rank=Rank(r, world), batch=8)) for r in range(world)]
    for step, joint in enumerate(alone):
        halves = [[], []]
        for rank in range(world):
            own = shared[rank][step]
            assert len(own) == 16 // world
            halves[0] += own[: len(own) // 2]
            halves[1] += own[len(own) // 2 :]
        assert halves[0] + halves[1] == joint


def test_draws_of():
    assert list(draws_of(3, 8, Rank(1, 2))) == [28, 29, 30, 31]


def test_one_video_fills_a_batch():
    (clips,) = islice(requests([50], range(1)), 1)
    assert len(clips) == 8
    assert len({request.frames for request in clips}) > 1


def test_a_short_video_keeps_its_speed():
    for draw in range(20):
        for clip in draw_pair(draw, 0, 5, 1.0, PAIRS):
            assert {(b - a) % 5 for a, b in zip(clip.frames, clip.frames[1:], strict=False)} == {
                clip.stride
            }


def test_speeds_in_seconds(dataset):
    """A video at 50 frames a second, strides at 25: every second and every fourth frame."""
    for draw in range(10):
        for clip in draw_pair(draw, 0, 200, 2.0, PAIRS):
            assert set(np.diff(clip.frames)) == {2 * clip.stride}
    videos = [
        replace(v, fps=fps) for v, fps in zip(dataset.videos, (50.0, 25.0, 12.5), strict=False)
    ]
    assert stride_rates(videos, 25.0) == [2.0, 1.0, 0.5]
    assert stride_rates(videos, 0.0) == [1.0, 1.0, 1.0]
    said = r"1 of 1 videos have no known .* data\.fps=0 when training, --set fps=0 when evaluating"
    with pytest.raises(TrainerError, match=said):
        stride_rates([replace(videos[0], fps=None)], 25.0)


def test_even_requests():
    clips = even_requests(2, 20, 1.0, clips=3, clip_length=4, stride=2, policy="loop")
    assert [clip.frames[0] for clip in clips] == [0, 6, 13]
    assert {clip.video for clip in clips} == {2}


def test_count_short():
    assert count_short([14, 15, 16], [1.0, 1.0, 1.0], 8, (1, 2)) == 1
    assert count_short([14, 15, 16], [1.0, 1.0, 2.0], 8, (1, 2)) == 2


def test_clips_of_evenly_spaced_frames_are_those_they_always_were():
    """As drawn before there were frame times."""
    lengths, found = [20, 33, 5, 40, 8, 300, 1], []
    for policy in ("loop", "repeat_last"):
        for rate in (1.0, 0.5, 1.2, 29.97 / 25, 60 / 25):
            pairs = Pairs(8, (1, 2, 4), False, policy, 3)
            rates, times = [rate] * 7, [None] * 7
            found += pair_requests(
                lengths, rates, range(40), pairs, batch=4, rank=ALONE, times=times
            )
            found += [
                even_requests(i, n, rate, clips=5, clip_length=8, stride=2, policy=policy)
                for i, n in enumerate(lengths)
            ]
    plain = [[(clip.video, clip.frames, clip.stride) for clip in batch] for batch in found]
    digest = "f8c066af4e272e6ad86bf438dbb02e1367000fb6c4d5a91872d15684c47449d5"
    assert sha256(repr(plain).encode()).hexdigest() == digest


def test_times_are_those_that_strides_follow(motion, dataset):
    videos = motion.videos
    assert stride_times(videos, 25.0) == [video.times for video in videos]
    assert sum(times is not None for times in stride_times(videos, 25.0)) == 4
    assert stride_times(videos, 0.0) is None  # strides count stored frames
    assert stride_times(dataset.videos, 25.0) is None


@pytest.mark.parametrize("fps", [25.0, 10.0])
def test_clips_follow_frame_times(motion, fps):
    """Of every clip, the frames are those nearest in time to evenly spaced moments."""
    videos = motion.videos
    lengths, rates = [video.frames for video in videos], stride_rates(videos, fps)
    times = stride_times(videos, fps)
    pairs = replace(PAIRS, policy="repeat_last")
    for batch in pair_requests(lengths, rates, range(12), pairs, batch=4, rank=ALONE, times=times):
        for clip in batch:
            video = videos[clip.video]
            own = np.array(video.times or [i / video.fps for i in range(video.frames)])
            wanted = own[clip.frames[0]] + np.arange(8) * clip.stride / fps
            wanted = np.minimum(wanted, own[-1])
            nearest = abs(own[None] - wanted[:, None]).min(axis=1)
            assert abs(own[list(clip.frames)] - wanted) == pytest.approx(nearest, abs=1e-9)


def test_frames_are_counted_where_no_rate_is_asked_for(motion):
    lengths = [video.frames for video in motion.videos]
    rates, times = stride_rates(motion.videos, 0.0), stride_times(motion.videos, 0.0)
    counted = list(pair_requests(lengths, rates, range(9), PAIRS, batch=4, rank=ALONE))
    timed = pair_requests(lengths, rates, range(9), PAIRS, batch=4, rank=ALONE, times=times)
    assert list(timed) == counted


def test_what_is_too_short_in_time(motion):
    """8 frames at stride 4 of 5 a second last 5.6 seconds, at 10 a second 2.8."""
    lengths = [video.frames for video in motion.videos]
    assert count_short(lengths, stride_rates(motion.videos, 5.0), 8, (1, 4)) == len(lengths)
    assert count_short(lengths, stride_rates(motion.videos, 10.0), 8, (1, 4)) == 0
