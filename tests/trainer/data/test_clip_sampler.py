from dataclasses import replace
from hashlib import sha256

import numpy as np
import pytest

from trainer.data.clip_policy import clip_frames, even_starts
from trainer.data.clip_sampler import (
    Batches,
    Pairs,
    Timing,
    count_short,
    draw_pair,
    pair_requests,
    timings_of,
)
from trainer.distributed import ALONE, Rank
from trainer.errors import TrainerError

PAIRS = Pairs(length=8, strides=(1, 2), replacement=False, policy="loop", seed=3)
LENGTHS = (20, 30, 5, 40, 8)


def requests(lengths, numbers, pairs=PAIRS, rank=ALONE, size=4):
    timings = [Timing(frames) for frames in lengths]
    return list(pair_requests(timings, Batches(numbers, size, rank), pairs))


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
    whole = requests(LENGTHS, range(9))
    assert requests(LENGTHS, range(4, 9)) == whole[4:]
    assert requests(LENGTHS, range(9), replace(PAIRS, seed=4)) != whole


@pytest.mark.parametrize("world", [2, 4])
def test_the_ranks_share_the_batch_of_one(world):
    alone = requests(LENGTHS, range(5), size=8)
    shares = [requests(LENGTHS, range(5), rank=Rank(r, world), size=8) for r in range(world)]
    count = 8 // world
    for joint, *parts in zip(alone, *shares, strict=True):
        assert [len(part) for part in parts] == [2 * count] * world
        firsts = [clip for part in parts for clip in part[:count]]
        assert firsts + [clip for part in parts for clip in part[count:]] == joint
    assert list(Batches(range(9), 8, Rank(1, 2)).draws(3)) == [28, 29, 30, 31]


def test_one_video_fills_a_batch():
    (clips,) = requests([50], range(1))
    assert len(clips) == 8
    assert len({request.frames for request in clips}) > 1


def test_a_short_video_keeps_its_speed():
    for draw in range(20):
        for clip in draw_pair(draw, 0, Timing(5), PAIRS):
            steps = zip(clip.frames, clip.frames[1:], strict=False)
            assert {(b - a) % 5 for a, b in steps} == {clip.stride}


def test_speeds_in_seconds(dataset):
    """A video at 50 frames a second, strides at 25: every second and every fourth frame."""
    for draw in range(10):
        for clip in draw_pair(draw, 0, Timing(200, 2.0), PAIRS):
            assert set(np.diff(clip.frames)) == {2 * clip.stride}
    rates = zip(dataset.videos, (50.0, 25.0, 12.5), strict=False)
    videos = [replace(video, fps=fps) for video, fps in rates]
    assert [timing.rate for timing in timings_of(videos, 25.0)] == [2.0, 1.0, 0.5]
    assert timings_of(videos, 0.0) == tuple(Timing(video.frames) for video in videos)
    said = r"1 of 1 videos have no known .* data\.fps=0 when training, --set fps=0 when evaluating"
    with pytest.raises(TrainerError, match=said):
        timings_of([replace(videos[0], fps=None)], 25.0)


def test_count_short(motion):
    assert count_short([Timing(14), Timing(15), Timing(16)], 8, 2) == 1
    assert count_short([Timing(14), Timing(15), Timing(16, 2.0)], 8, 2) == 2
    # 8 frames at stride 4 of 5 a second last 5.6 seconds, at 10 a second 2.8.
    assert count_short(timings_of(motion.videos, 5.0), 8, 4) == len(motion.videos)
    assert count_short(timings_of(motion.videos, 10.0), 8, 4) == 0


def test_clips_of_evenly_spaced_frames_are_those_they_always_were():
    """As drawn before there were frame times."""
    drawn = []
    for policy in ("loop", "repeat_last"):
        for rate in (1.0, 0.5, 1.2, 29.97 / 25, 60 / 25):
            pairs = Pairs(8, (1, 2, 4), False, policy, 3)
            timings = [Timing(frames, rate) for frames in (20, 33, 5, 40, 8, 300, 1)]
            batches = pair_requests(timings, Batches(range(40), 4), pairs)
            drawn += [[(c.video, c.frames, c.stride) for c in batch] for batch in batches]
            for video, timing in enumerate(timings):
                place = timing.place(8, 2)
                starts = even_starts(5, place)
                drawn += [[(video, clip_frames(start, place, policy), 2) for start in starts]]
    digest = "f8c066af4e272e6ad86bf438dbb02e1367000fb6c4d5a91872d15684c47449d5"
    assert sha256(repr(drawn).encode()).hexdigest() == digest


def test_times_are_those_that_strides_follow(motion, dataset):
    times = [timing.times for timing in timings_of(motion.videos, 25.0)]
    assert times == [video.times for video in motion.videos]
    assert sum(of_video is not None for of_video in times) == 4
    for counted in (timings_of(motion.videos, 0.0), timings_of(dataset.videos, 25.0)):
        assert not any(timing.times for timing in counted)  # strides count stored frames


@pytest.mark.parametrize("fps", [25.0, 10.0])
def test_clips_follow_frame_times(motion, fps):
    """Of every clip, the frames are those nearest in time to evenly spaced moments."""
    pairs, timings = replace(PAIRS, policy="repeat_last"), timings_of(motion.videos, fps)
    for batch in pair_requests(timings, Batches(range(12), 4), pairs):
        for clip in batch:
            video = motion.videos[clip.video]
            times = np.array(video.times or [i / video.fps for i in range(video.frames)])
            moments = times[clip.frames[0]] + np.arange(8) * clip.stride / fps
            moments = np.minimum(moments, times[-1])
            nearest = abs(times[None] - moments[:, None]).min(axis=1)
            assert abs(times[list(clip.frames)] - moments) == pytest.approx(nearest, abs=1e-9)


CUTS = (30, 33, 60)  # shots of 30, 3, 27 and 40 frames


@pytest.mark.parametrize("timed", [False, True])
def test_both_clips_of_a_pair_lie_in_one_shot(timed):
    times = np.cumsum([0.0, *np.random.default_rng(0).choice([0.02, 0.06], 99)]) if timed else None
    timing, seen = Timing(100, 1.0, times, CUTS), set()
    for draw in range(60):
        frames = [frame for clip in draw_pair(draw, 0, timing, PAIRS) for frame in clip.frames]
        shots = set(np.searchsorted(CUTS, frames, side="right").tolist())
        assert len(shots) == 1
        assert len(set(frames[:8])) == len(set(frames[8:])) == 8 or timed
        seen |= shots
    assert seen == {0, 2, 3}  # the one that is too short for a clip is left out


@pytest.mark.parametrize("policy", ["loop", "repeat_last"])
def test_where_all_shots_are_short_clips_stay_in_one(policy):
    timing, seen = Timing(12, cuts=(5, 6)), set()
    for draw in range(40):
        for clip in draw_pair(draw, 0, timing, replace(PAIRS, policy=policy)):
            shots = set(np.searchsorted(timing.cuts, clip.frames, side="right").tolist())
            assert len(shots) == 1
            seen |= shots
    assert seen == {0, 1, 2}


def test_a_video_is_short_if_all_its_shots_are(motion):
    assert count_short([Timing(40, cuts=(20,)), Timing(40, cuts=(10, 20, 30))], 16, 1) == 1
    cut = replace(motion.videos[0], cuts=(7,))
    assert timings_of([cut], 0.0)[0].cuts == timings_of([cut], 25.0)[0].cuts == (7,)
