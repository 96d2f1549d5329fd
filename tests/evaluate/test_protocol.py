from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from evaluate.errors import EvaluateError
from evaluate.protocol import Protocol, changed_protocol, clips_of, protocol_of


def test_a_run_is_evaluated_on_clips_like_its_own(tiny):
    protocol = protocol_of(tiny)
    assert (protocol.frames, protocol.size, protocol.clips, protocol.stride) == (4, 16, 5, 2)
    assert changed_protocol(protocol, ("layer=layer3", "clips=2")).layer == "layer3"


@pytest.mark.parametrize(
    "assignment, sentence",
    [
        ("pooling=sum", "pooling is 'sum'; allowed: average or max"),
        ("crops=2", "crops is 2; allowed: 1 or 3"),
        ("clips=0", "clips is 0; allowed: 1 to 1000"),
        ("every=-1.0", "every is -1.0; allowed: 0"),
        ("every=nan", "every is nan; allowed: 0"),
        ("short_videos=drop", "short_videos is 'drop'; allowed: loop, repeat_last or error"),
        ("clip=3", r"there is no setting clip\. Did you mean clips\?"),
    ],
)
def test_what_is_not_allowed(assignment, sentence):
    with pytest.raises(EvaluateError, match=sentence):
        changed_protocol(Protocol(), (assignment,))


def test_what_is_not_turned_says_nothing_of_it():
    """So stores and results of before clips could be are still those of the same clips."""
    plain = Protocol(clips=2, mirrored=True)
    assert "turned" not in plain.identity and plain.identity["mirrored"] is True
    assert replace(plain, turned=True).identity == plain.identity | {"turned": True}


def test_clips_lie_evenly_or_every_so_many_seconds(dataset):
    video = replace(dataset.videos[0], frames=250, fps=25.0)
    even = clips_of([video], Protocol(frames=16, clips=4))[0]
    assert [clip.frames[0] for clip in even] == [0, 78, 156, 234]
    every = clips_of([video], Protocol(frames=16, every=1.0))[0]
    starts = [clip.frames[0] for clip in every]
    assert len(starts) == 10 and starts[0] == 0 and starts[-1] == 250 - 16
    short = replace(video, frames=10)
    assert len(clips_of([short], Protocol(frames=16, every=1.0))[0]) == 1


@pytest.mark.parametrize("how", [{"clips": 7}, {"every": 0.5}])
def test_no_clip_straddles_a_cut(dataset, motion, how):
    cuts = (30, 34, 60)
    even = replace(dataset.videos[0], frames=100, fps=25.0, cuts=cuts)
    uneven = next(video for video in motion.videos if video.times and video.frames > 70)
    for video in (even, replace(uneven, cuts=cuts)):
        clips = clips_of([video], Protocol(frames=8, **how))[0]
        shots = [set(np.searchsorted(cuts, clip.frames, side="right").tolist()) for clip in clips]
        assert all(len(of_clip) == 1 for of_clip in shots)
        # Every so many seconds: the short shot is found, too, by a clip that starts over.
        assert set.union(*shots) == ({0, 1, 2, 3} if "every" in how else {0, 2, 3})
    fitting = clips_of([even], Protocol(frames=8, short_videos="error", **how))[0]
    assert all(np.diff(clip.frames).tolist() == [1] * 7 for clip in fitting)


def test_seconds_need_a_frame_rate(dataset):
    unknown = replace(dataset.videos[0], fps=None)
    with pytest.raises(EvaluateError, match="no known frame rate"):
        clips_of([unknown], Protocol(every=1.0))


def test_too_short_under_the_policy_error(dataset):
    with pytest.raises(EvaluateError, match=r"1 of 16 videos are too short for 16 frames"):
        clips_of(dataset.videos, Protocol(short_videos="error"))


@pytest.fixture
def uneven(motion):
    return [video for video in motion.videos if video.times]


def test_clips_follow_frame_times(uneven):
    for protocol in (Protocol(frames=8, fps=25.0), Protocol(frames=8, fps=25.0, every=0.5)):
        for own, video in zip(clips_of(uneven, protocol), uneven, strict=True):
            times = np.array(video.times)
            for clip in own:
                wanted = np.minimum(times[clip.frames[0]] + np.arange(8) / 25, times[-1])
                nearest = abs(times[None] - wanted[:, None]).min(axis=1)
                assert abs(times[list(clip.frames)] - wanted) == pytest.approx(nearest, abs=1e-9)


@pytest.mark.parametrize("fps", [0.0, 25.0])
def test_clips_begin_every_so_many_seconds(uneven, fps):
    for video in uneven:
        times = np.array(video.times)
        own = clips_of([video], Protocol(frames=4, fps=fps, every=0.5))[0]
        starts = times[[clip.frames[0] for clip in own]]
        assert starts[0] == 0 and list(starts) == sorted(set(starts))
        wanted = np.linspace(0, starts[-1], 1 + round(starts[-1] / 0.5))
        nearest = [abs(times - moment).argmin() for moment in wanted]
        assert starts.tolist() == times[sorted(set(nearest))].tolist()
        if not fps:  # strides count stored frames
            assert {b - a for clip in own for a, b in pairwise(clip.frames)} == {1}
            assert own[-1].frames[-1] == video.frames - 1


def test_a_number_of_clips_is_spread_over_time_or_over_frames(uneven):
    half = next(video for video in uneven if video.name == "uneven/half.avi")
    timed = clips_of([half], Protocol(frames=1, fps=25.0, clips=3))[0]
    counted = clips_of([half], Protocol(frames=1, clips=3))[0]
    assert [clip.frames[0] for clip in counted] == [0, 62, 125]
    middle = half.times[timed[1].frames[0]]
    assert middle == pytest.approx(half.times[-1] / 2, abs=1 / 23)


def test_a_frame_that_is_shown_for_hours_is_not_taken_again_and_again(uneven):
    times = (*(i / 25 for i in range(50)), *(36000 + i / 25 for i in range(50)))
    video = replace(uneven[0], frames=100, times=times, fps=99 / times[-1])
    own = clips_of([video], Protocol(frames=4, fps=25.0, every=1.0))[0]
    assert [clip.frames[0] for clip in own] == [0, 25, 49, 50, 71, 96]  # a second apart, each once
