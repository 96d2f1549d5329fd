from dataclasses import replace

import pytest

from evaluate.errors import EvaluateError
from evaluate.protocol import Protocol, changed, clips_of, protocol_of


def test_a_run_is_evaluated_on_clips_like_its_own(tiny):
    protocol = protocol_of(tiny)
    assert (protocol.frames, protocol.size, protocol.clips, protocol.stride) == (4, 16, 5, 2)
    assert changed(protocol, ("layer=layer3", "clips=2")).layer == "layer3"


@pytest.mark.parametrize(
    "assignment, sentence",
    [
        ("pooling=sum", "pooling is 'sum'; it takes average, max"),
        ("crops=2", "crops is 2; it takes 1, 3"),
        ("clips=0", "clips is 0; it takes 1 or more"),
        ("every=-1.0", "every is -1; it takes 0 or more"),
        ("every=nan", "every is nan; it takes 0 or more"),
        ("short_videos=drop", "short_videos is 'drop'; it takes loop, repeat_last, error"),
        ("clip=3", r"there is no setting clip\. Did you mean clips\?"),
    ],
)
def test_what_is_not_allowed(assignment, sentence):
    with pytest.raises(EvaluateError, match=sentence):
        changed(Protocol(), (assignment,))


def test_clips_lie_evenly_or_every_so_many_seconds(dataset):
    video = replace(dataset.videos[0], frames=250, fps=25.0)
    even = clips_of([video], Protocol(frames=16, clips=4))[0]
    assert [clip.frames[0] for clip in even] == [0, 78, 156, 234]
    every = clips_of([video], Protocol(frames=16, every=1.0))[0]
    starts = [clip.frames[0] for clip in every]
    assert len(starts) == 10 and starts[0] == 0 and starts[-1] == 250 - 16
    short = replace(video, frames=10)
    assert len(clips_of([short], Protocol(frames=16, every=1.0))[0]) == 1


def test_seconds_need_a_frame_rate(dataset):
    unknown = replace(dataset.videos[0], fps=None)
    with pytest.raises(EvaluateError, match="no known frame rate"):
        clips_of([unknown], Protocol(every=1.0))


def test_too_short_under_the_policy_error(dataset):
    with pytest.raises(EvaluateError, match=r"1 of 16 videos are too short for 16 frames"):
        clips_of(dataset.videos, Protocol(short_videos="error"))
