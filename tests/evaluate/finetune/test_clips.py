from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from evaluate.errors import EvaluateError
from evaluate.finetune.clips import LabelledVideos, epoch_ends, hold_out, train_requests
from evaluate.protocol import Protocol
from trainer.data.clip_sampler import Batches

PROTOCOL = Protocol(frames=4, stride=2, size=16)


def drawn(videos, steps, protocol=PROTOCOL, batch=4, seed=3):
    return list(train_requests(videos, protocol, Batches(steps, batch), seed))


def test_a_step_s_clips_depend_on_its_number_alone(dataset):
    videos = dataset.videos[:7]
    everything = drawn(videos, range(9))
    assert drawn(videos, range(4, 9)) == everything[4:]
    assert drawn(videos, range(9), seed=4) != everything


def test_every_video_once_an_epoch(dataset):
    clips = [clip for batch in drawn(dataset.videos, range(8)) for clip in batch]
    first, second = ([c.video for c in clips[i : i + 16]] for i in (0, 16))
    assert sorted(first) == sorted(second) == list(range(16)) and first != second
    assert len({c.frames for c in clips if c.video == clips[0].video}) == 2  # other places


def test_strides_and_rates(dataset):
    long = [v for v in dataset.videos if v.frames >= 16]
    for stride, fps in ((2, 0.0), (1, 12.5)):  # 25 frames a second are stored
        protocol = replace(PROTOCOL, stride=stride, fps=fps)
        for clip in drawn(long, range(1), protocol)[0]:
            assert {b - a for a, b in pairwise(clip.frames)} == {2}


def test_a_video_that_is_too_short(dataset):
    with pytest.raises(EvaluateError, match="1 of 16 videos are too short for 4 frames"):
        drawn(dataset.videos, range(1), replace(PROTOCOL, short_videos="error"))


def test_hold_out_keeps_groups_together(dataset):
    part = LabelledVideos(dataset.videos, np.arange(16) % 2)
    learn, held_out = hold_out(part)
    assert len(learn.videos) == len(learn.labels) == 14 and len(held_out.videos) == 2
    groups = [{v.group for v in p.videos} for p in (learn, held_out)]
    assert not groups[0] & groups[1]
    assert sorted(v.name for p in (learn, held_out) for v in p.videos) == [
        video.name for video in dataset.videos
    ]
    label_of = {v.name: i % 2 for i, v in enumerate(dataset.videos)}
    for p in (learn, held_out):
        assert [label_of[v.name] for v in p.videos] == p.labels.tolist()


def test_held_out_groups_of_classes_that_the_others_lack_are_refused(dataset):
    """No epoch would be better than another."""
    with pytest.raises(EvaluateError, match=r"of classes that the others lack.*choose=last"):
        hold_out(LabelledVideos(dataset.videos, np.arange(16)))


def test_the_digest_is_of_videos_and_labels_not_of_places(dataset, tmp_path):
    part = LabelledVideos(dataset.videos, np.zeros(16, np.int64))
    moved = [replace(v, shard=tmp_path / v.shard.name) for v in part.videos]
    assert replace(part, videos=moved).digest() == part.digest()
    longer = [replace(dataset.videos[0], frames=99), *dataset.videos[1:]]
    for other in (
        replace(part, labels=np.eye(16, dtype=np.int64)[3]),
        replace(part, videos=dataset.videos[::-1]),
        replace(part, videos=longer),
    ):
        assert other.digest() != part.digest()


def test_a_name_that_is_no_utf_8_has_a_digest(dataset):
    odd = replace(dataset.videos[0], name="a\udcff.avi", group="a\udcff")
    part = LabelledVideos([odd], np.zeros(1, np.int64))
    other = LabelledVideos([replace(odd, name="a\udcfe.avi")], part.labels)
    assert len({part.digest(), other.digest()}) == 2


def test_epoch_ends():
    assert epoch_ends(100, 32, 9) == {3: 1, 6: 2, 9: 3}
    assert epoch_ends(100, 32, 10) == {3: 1, 6: 2, 9: 3, 10: 4}
    assert epoch_ends(10, 5, 1) == {1: 1}
    assert epoch_ends(1, 8, 2) == {1: 11, 2: 12}  # many epochs a step
    ends = epoch_ends(9537, 32, 8941)
    assert len(ends) == 30 and list(ends)[-1] == 8941 and ends[8941] == 30


def test_clips_of_unevenly_spaced_frames(motion):
    protocol = replace(PROTOCOL, stride=1, fps=12.5)
    for clip in [clip for batch in drawn(motion.videos, range(6), protocol) for clip in batch]:
        video = motion.videos[clip.video]
        times = np.array(video.times or [i / video.fps for i in range(video.frames)])
        wanted = times[clip.frames[0]] + np.arange(4) / 12.5
        nearest = abs(times[None] - wanted[:, None]).min(axis=1)
        assert abs(times[list(clip.frames)] - wanted) == pytest.approx(nearest, abs=1e-9)


def test_the_digest_changes_with_frame_times(motion):
    labels = np.zeros(len(motion.videos), np.int64)
    part = LabelledVideos(motion.videos, labels)
    even = [replace(video, times=None) for video in motion.videos]
    assert LabelledVideos(even, labels).digest() != part.digest()
