from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import simplejpeg
import torch

from builder.shard import read_frames, read_offsets
from trainer.clips import (
    ClipReader,
    ClipRequest,
    count_short,
    even_requests,
    pair_requests,
    read_batches,
)
from trainer.errors import TrainerError

PAIRS = {"batch": 4, "clip_length": 8, "strides": (1, 2), "policy": "loop", "seed": 3}


def test_a_batch_holds_the_frames_that_were_asked_for(dataset):
    reader = ClipReader(dataset.videos)
    requests = [ClipRequest(3, (0, 2, 4), 2), ClipRequest(5, (7, 1, 7), 1)]
    (batch,) = read_batches(reader, [requests], workers=2)
    assert batch.frames.shape == (2, 3, 32, 42, 3)
    assert batch.frames.dtype == torch.uint8
    assert batch.strides.tolist() == [2, 1]
    assert batch.videos.tolist() == [3, 5]
    assert batch.sizes.tolist() == [[32, 42], [32, 42]]
    for clip, request in zip(batch.frames.numpy(), requests, strict=True):
        video = dataset.videos[request.video]
        jpegs = read_frames(video, read_offsets(video), request.frames)
        for frame, jpeg in zip(clip, jpegs, strict=True):
            whole = simplejpeg.decode_jpeg(jpeg, fastdct=True, fastupsample=True)
            assert (frame == whole).all()


def test_decoding_at_a_smaller_scale(dataset):
    reader = ClipReader(dataset.videos, short_side=16)
    (batch,) = read_batches(reader, [[ClipRequest(0, (0,), 1)]])
    assert batch.frames.shape == (1, 1, 16, 21, 3)


def test_batches_come_in_order_and_buffers_are_not_mixed_up(dataset):
    reader = ClipReader(dataset.videos)
    requests = [[ClipRequest(i % 16, (0, 1), 1)] for i in range(30)]
    alone = [next(read_batches(reader, [r])).frames.clone() for r in requests]
    for workers in (1, 3):
        batches = read_batches(reader, requests, workers)
        for i, batch in enumerate(batches):
            assert batch.videos.tolist() == [i % 16]
            assert torch.equal(batch.frames, alone[i])


def test_a_spoilt_frame_is_named(dataset, tmp_path):
    video = dataset.videos[2]
    content = bytearray(video.shard.read_bytes())
    first = video.location.blob_start + int(read_offsets(video)[3])
    content[first : first + 200] = bytes(200)
    spoilt = tmp_path / "spoilt.tar"
    spoilt.write_bytes(content)
    reader = ClipReader([replace(video, shard=spoilt)])
    with pytest.raises(TrainerError, match=rf"Frame 3 of {video.name} in .*spoilt.tar"):
        list(read_batches(reader, [[ClipRequest(0, (2, 3), 1)]]))


def test_pairs_are_one_video_at_two_speeds():
    lengths = [30] * 10
    for requests in pair_requests(lengths, range(5), **PAIRS):
        assert len(requests) == 8
        for first, second in zip(requests[:4], requests[4:], strict=True):
            assert first.video == second.video
            assert {first.stride, second.stride} == {1, 2}
            assert set(np.diff(first.frames)) == {first.stride}


def test_every_video_once_an_epoch_in_another_order():
    lengths = [30] * 12
    steps = list(pair_requests(lengths, range(6), **PAIRS))
    drawn = [request.video for step in steps for request in step[:4]]
    first, second = drawn[:12], drawn[12:]
    assert sorted(first) == sorted(second) == list(range(12))
    assert first != second


def test_what_a_step_gets_depends_on_its_number_alone():
    lengths = [20, 30, 5, 40, 8]
    all_steps = list(pair_requests(lengths, range(9), **PAIRS))
    assert list(pair_requests(lengths, range(4, 9), **PAIRS)) == all_steps[4:]
    assert list(pair_requests(lengths, range(9), **PAIRS | {"seed": 4})) != all_steps


def test_one_video_fills_a_batch():
    (requests,) = islice(pair_requests([50], range(1), **PAIRS), 1)
    assert len(requests) == 8
    assert len({request.frames for request in requests}) > 1


def test_even_requests():
    clips = even_requests(2, 20, clips=3, clip_length=4, stride=2, policy="loop")
    assert [clip.frames[0] for clip in clips] == [0, 6, 13]
    assert {clip.video for clip in clips} == {2}


def test_count_short():
    assert count_short([14, 15, 16], 8, (1, 2)) == 1
