from dataclasses import replace

import pytest
import simplejpeg
import torch

from builder.build.build import BuildSettings, How, build
from builder.catalog import folder
from builder.decode.frames import FrameSettings
from builder.shards.dataset import ShardDataset, read_frames, read_offsets
from trainer.data.clip_reader import HELD, ClipReader, read_batches
from trainer.data.clip_sampler import ClipRequest
from trainer.data.jpeg_decoding import decoded_size
from trainer.data.packed_clips import bytes_of
from trainer.errors import TrainerError


@pytest.fixture
def odd_sizes(make_video, tmp_path):
    for name, size in (("a", "64x48"), ("b", "48x64"), ("c", "320x40")):
        make_video(tmp_path / "in" / f"{name}.avi", frames=3, size=size)
    settings = BuildSettings(FrameSettings(short_side=32))
    build(folder.read(tmp_path / "in"), tmp_path / "out", settings, How())
    return ShardDataset(tmp_path / "out")


def test_a_batch_holds_the_frames_that_were_asked_for(dataset):
    reader = ClipReader(dataset.videos)
    requests = [ClipRequest(3, (0, 2, 4), 2), ClipRequest(5, (7, 1, 7), 1)]
    (batch,) = read_batches(reader, [requests], workers=2)
    assert batch.clips[0].shape == (3, 32, 42, 3) and batch.clips[0].dtype == torch.uint8
    assert batch.strides.tolist() == [2, 1]
    assert batch.videos.tolist() == [3, 5]
    assert batch.clips.sizes == ((32, 42), (32, 42))
    for clip, request in zip(batch.clips, requests, strict=True):
        video = dataset.videos[request.video]
        jpegs = read_frames(video, read_offsets(video), request.frames)
        for frame, jpeg in zip(clip.numpy(), jpegs, strict=True):
            whole = simplejpeg.decode_jpeg(jpeg, fastdct=True, fastupsample=True)
            assert (frame == whole).all()


def test_decoding_at_a_smaller_scale(dataset):
    reader = ClipReader(dataset.videos, short_side=16)
    (batch,) = read_batches(reader, [[ClipRequest(0, (0,), 1)]])
    assert batch.clips[0].shape == (1, 16, 21, 3)


def test_a_frame_that_clips_of_a_video_share_is_decoded_once(dataset, monkeypatch):
    a, b, *_ = [i for i, video in enumerate(dataset.videos) if video.frames > 7]
    requests = [
        ClipRequest(a, (0, 1, 2, 3), 1),
        ClipRequest(b, (6, 7, 0, 1), 1),
        ClipRequest(a, (1, 3, 5, 7), 2),
    ]
    reader, decoded, decode = ClipReader(dataset.videos), [], simplejpeg.decode_jpeg

    def count(*arguments):
        decoded.append(arguments)
        return decode(*arguments)

    alone = [next(read_batches(reader, [[r]])).clips[0].clone() for r in requests]
    monkeypatch.setattr(simplejpeg, "decode_jpeg", count)
    (batch,) = read_batches(reader, [requests], workers=2)
    assert all(map(torch.equal, batch.clips, alone))
    assert len(decoded) == 6 + 4


def test_batches_come_in_order_and_buffers_are_not_mixed_up(dataset):
    reader = ClipReader(dataset.videos)
    requests = [[ClipRequest(i % 16, (0, 1), 1)] for i in range(30)]
    alone = [next(read_batches(reader, [r])).clips[0].clone() for r in requests]
    for workers in (1, 3):
        batches = read_batches(reader, requests, workers)
        for i, batch in enumerate(batches):
            assert batch.videos.tolist() == [i % 16]
            assert torch.equal(batch.clips[0], alone[i])


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


def test_a_batch_of_several_sizes_is_as_large_as_its_clips(odd_sizes):
    """Whatever other videos are like; and the buffer of an odd batch does not stay."""
    videos, order = odd_sizes.videos, [1, 0, 1, 2, 0]
    reader = ClipReader(videos)
    requests = [ClipRequest(video, (0, 1), 1) for video in order]
    usual = [[ClipRequest(1, (0, 1), 1)] * 5] * 24
    batches = read_batches(reader, [requests, *usual], 2)
    batch = next(batches)
    needed = sum(2 * v.height * v.width * 3 for v in map(videos.__getitem__, order))
    assert needed <= len(batch.clips.pixels) <= 1.2 * needed
    for clip, request in zip(batch.clips, requests, strict=True):
        (alone,) = read_batches(reader, [[request]])
        assert torch.equal(clip, alone.clips[0])
    *_, last = ([len(b.clips.pixels), bytes_of(b.clips.sizes, 2)] for b in batches)
    assert last[0] == last[1]


def test_buffers_are_used_again_by_batches_that_are_larger_and_smaller(odd_sizes):
    small, large = ([ClipRequest(video, (0, 1), 1)] * 5 for video in (1, 2))
    batches = read_batches(ClipReader(odd_sizes.videos), [small, large, large] * 20, 2)
    memory = [batch.clips.pixels.data_ptr() for batch in batches]
    assert len(set(memory[6:])) == HELD


def test_a_frame_of_another_size_is_named(dataset):
    reader = ClipReader([replace(dataset.videos[0], width=44)])
    with pytest.raises(TrainerError, match=r"no readable JPEG of 32 x 44 pixels .*\(32, 42\)"):
        list(read_batches(reader, [[ClipRequest(0, (0,), 1)]]))


@pytest.mark.parametrize(
    ("short_side", "size"),
    [
        (0, (128, 170)),
        (16, (16, 22)),
        (17, (32, 43)),
        (48, (48, 64)),
        (64, (64, 85)),
        (65, (128, 170)),
        (112, (128, 170)),
        (500, (128, 170)),
    ],
)
def test_only_scales_that_are_cheaper_than_whole_frames_are_taken(short_side, size):
    assert decoded_size(128, 170, short_side) == size


def test_a_batch_that_the_container_does_not_hold(dataset, monkeypatch):
    monkeypatch.setattr("trainer.data.clip_reader.memory_limit", lambda: 4 * 2 * 32 * 42 * 3 - 1)
    reader = ClipReader(dataset.videos)
    with pytest.raises(TrainerError, match=r"the container, has 0 GB.*--short-side, or take fewer"):
        list(read_batches(reader, [[ClipRequest(0, (0, 1), 1)]]))
