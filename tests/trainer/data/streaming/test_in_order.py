import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import pytest

from builder.shards.dataset import ShardDataset, read_frames, read_offsets
from tests.trainer.data.streaming.test_retrying import QUICK, Server, children, serve
from trainer.data.clip_sampler import ClipRequest
from trainer.data.streaming.in_order import Clips, RemoteVideos, storage_order, stream_clips
from trainer.errors import TrainerError


@pytest.fixture
def server(dataset: ShardDataset, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    with serve(dataset.folder) as running_server:
        yield running_server


@pytest.fixture
def remote(dataset: ShardDataset, server: Server) -> RemoteVideos:
    videos = [dataset.videos[i] for i in storage_order(dataset.videos)]
    return RemoteVideos(videos, server.url, QUICK)


def batches(videos: range) -> list[Clips]:
    """Two clips of every video, which share a frame; a batch begins with a video's second one."""
    clips = [ClipRequest(v, frames, 1) for v in videos for frames in ((0, 2), (2, 4))]
    return [clips[:3], clips[3:9], clips[9:]]


def test_frames_are_those_of_the_shards_and_each_is_read_once(remote, server):
    """In order, whatever breaks off on the way."""
    names = list(dict.fromkeys(video.shard.name for video in remote.videos))
    server.cuts = [30_000]
    wanted = batches(range(len(remote.videos)))
    with closing(stream_clips(remote, wanted)) as streamed:
        got = list(streamed)
    assert [[(c.video, c.frames) for c in batch] for batch in got] == [
        [(c.video, c.frames) for c in batch] for batch in wanted
    ]
    for clip in (clip for batch in got for clip in batch):
        video = remote.videos[clip.video]
        assert list(clip.jpegs) == read_frames(video, read_offsets(video), clip.frames)
    assert server.asked == [names[0], *names] and len(names) == 4


def test_shards_without_a_wanted_video_are_not_asked_for(remote, server):
    names = [video.shard.name for video in remote.videos]
    wanted = range(names.index(sorted(set(names))[2]), len(names))
    with closing(stream_clips(remote, batches(wanted))) as streamed:
        assert [clip.video for batch in streamed for clip in batch][::2] == list(wanted)
    assert server.asked == sorted(set(names))[2:]


def test_little_is_read_ahead_and_nothing_is_left_behind(remote, server):
    """While nobody asks for more, most shards are not asked for; the end ends what is read from."""
    before, threads = children(), threading.active_count()
    clips = [[ClipRequest(v, (0,), 1)] for v in range(len(remote.videos))]
    with closing(stream_clips(remote, clips)) as streamed:
        next(streamed)
        assert len(set(server.asked)) < 3
    assert children() == before and threading.active_count() <= threads + 1  # the server's


def test_a_shard_that_is_another_is_one_sentence(remote):
    other = replace(remote.videos[0], name="other.avi")
    changed = replace(remote, videos=[other, *remote.videos[1:]])
    wanted = batches(range(len(remote.videos)))
    with (
        pytest.raises(TrainerError, match=r"http://\S+tar: \S+ does not hold other\.avi where"),
        closing(stream_clips(changed, wanted)) as streamed,
    ):
        list(streamed)
    gone = replace(remote, source=f"{remote.source}/gone")
    with (
        pytest.raises(TrainerError, match=r"gone/\S+ cannot be read: .*404.* Check the URL"),
        closing(stream_clips(gone, wanted)) as streamed,
    ):
        list(streamed)
