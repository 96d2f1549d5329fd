import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest
import torch

from builder.shards.dataset import ShardDataset, Video
from tests.trainer.data.streaming.test_retrying import (
    QUICK,
    SLEEP,
    Server,
    children,
    is_gone,
    serve,
)
from trainer.data.clip_reader import ClipReader, read_batches
from trainer.data.clip_sampler import (
    Batches,
    ClipRequest,
    Pairs,
    Timing,
    draw_pair,
    timings_of,
)
from trainer.data.streaming import reader
from trainer.data.streaming.reader import Streaming, stream_requests, stream_shards
from trainer.distributed import ALONE, Rank
from trainer.errors import TrainerError

PAIRS = Pairs(length=8, strides=(1, 2), replacement=False, policy="loop", seed=3)
HOW = Streaming(streams=2, buffer=5, patience=QUICK)


@pytest.fixture(scope="module")
def videos(dataset: ShardDataset) -> tuple[Video, ...]:
    """Of three shards, one of them with a single video."""
    own = sorted(dataset.subset("1", "train"), key=lambda v: (v.shard, v.location.start))
    first, second, third = sorted({v.shard for v in own})
    kept = [v for v in own if v.shard != third] + [v for v in own if v.shard == third][1:2]
    assert {v.shard for v in kept} == {first, second, third}
    return tuple(kept[1:])[::-1]


@pytest.fixture
def server(dataset: ShardDataset, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    with serve(dataset.folder) as running_server:
        yield running_server


def requests_of(
    videos: tuple[Video, ...],
    batches: Batches,
    source: str | None = None,
    how: Streaming = HOW,
) -> Generator[list[ClipRequest], None, None]:
    shards = stream_shards(videos, {videos[0].shard.parent: source} if source else {})
    timings = [Timing(video.frames) for video in videos]
    return stream_requests(videos, timings, shards, batches, PAIRS, how)


def clips(
    videos: tuple[Video, ...],
    numbers: range,
    source: str | None = None,
    rank: Rank = ALONE,
    size: int = 4,
    **ways: int,
) -> list[list[ClipRequest]]:
    batches = Batches(numbers, size, rank)
    return list(requests_of(videos, batches, source, replace(HOW, **ways)))


def is_as_drawn(batch: list[ClipRequest], draws: range, timings: Sequence[Timing]) -> bool:
    """Whether a batch holds the pairs of these draws."""
    both = batch[: len(draws)], batch[len(draws) :]
    return all(
        (replace(first, jpegs=()), replace(second, jpegs=()))
        == draw_pair(draw, first.video, timings[first.video], PAIRS)
        for draw, first, second in zip(draws, *both, strict=True)
    )


def test_shards_and_their_videos(videos, dataset) -> None:
    shards = stream_shards(videos, {dataset.folder: "http://host/set"})
    assert sorted(position for shard in shards for position in shard.videos) == list(range(8))
    assert sorted(len(shard.videos) for shard in shards) == [1, 3, 4]
    for shard in shards:
        own = [videos[position] for position in shard.videos]
        assert {f"http://host/set/{video.shard.name}" for video in own} == {shard.url}
        starts = [video.location.start for video in own]
        assert starts == sorted(starts)


@pytest.mark.parametrize("rank", [Rank(), Rank(1, 2)])
def test_the_clips_are_those_that_are_drawn_and_decode_as_with_a_local_reader(videos, rank) -> None:
    batches = clips(videos, range(6), rank=rank, streams=1)
    timings = [Timing(video.frames) for video in videos]
    for number, batch in enumerate(batches):
        assert is_as_drawn(batch, Batches(range(6), 4, rank).draws(number), timings)
    unread = [[replace(clip, jpegs=()) for clip in batch] for batch in batches]
    local = read_batches(ClipReader(videos), unread, 2)
    for ours, theirs in zip(read_batches(ClipReader(videos), batches, 2), local, strict=True):
        for name in ("strides", "videos"):
            assert torch.equal(getattr(ours, name), getattr(theirs, name))
        assert all(map(torch.equal, ours.clips, theirs.clips))


def test_the_same_clips_from_a_folder_a_server_and_a_command(videos, dataset, server) -> None:
    here = clips(videos, range(8))
    assert clips(videos, range(8), server.url) == here
    assert clips(videos, range(8), f"pipe:cat {dataset.folder}/{{}}") == here
    assert clips(videos, range(8), f"pipe:cat {dataset.folder}/{{}} | cat") == here


def test_resuming_anywhere_gives_the_rest(videos) -> None:
    for ways in ({}, {"streams": 3, "buffer": 1}, {"streams": 1, "buffer": 100}):
        whole = clips(videos, range(12), **ways)
        for start in range(13):
            assert clips(videos, range(start, 12), **ways) == whole[start:]


def test_resuming_opens_no_shard_of_earlier_epochs(videos, server) -> None:
    clips(videos, range(100, 101), server.url, buffer=2)
    assert 1 <= len(server.asked) <= 4


def test_two_ranks_read_three_unequal_shards_without_waiting_for_each_other(videos) -> None:
    batches = 60
    ranks = [
        clips(videos, range(batches), rank=Rank(number, 2), streams=1) for number in range(2)
    ]  # one after the other: the second one starts when the first is done
    assert [len(own) for own in ranks] == [batches, batches]
    assert all(len(batch) == 4 for own in ranks for batch in own)
    seen = Counter(clip.video for own in ranks for batch in own for clip in batch[:2])
    assert len(seen) == len(videos)
    mean = batches * 4 / len(videos)
    assert all(abs(count - mean) < mean / 3 for count in seen.values())


def test_every_video_once_an_epoch_of_a_single_stream(videos) -> None:
    count = len(videos)
    batches = clips(videos, range(count), size=2, streams=1, buffer=1)
    drawn = [clip.video for batch in batches for clip in batch[:2]]
    first, second = drawn[:count], drawn[count:]
    assert sorted(first) == sorted(second) == list(range(count))
    assert first != second


def test_reading_keeps_to_its_bounds(videos, monkeypatch) -> None:
    read = []

    def count(*args: Any) -> Any:
        read.append(args)
        return draw_pair(*args)

    monkeypatch.setattr(reader, "draw_pair", count)
    with closing(requests_of(videos, Batches(range(1000), 2))) as requests:
        for number in range(1, 30):
            next(requests)
            time.sleep(0.005)
            assert len(read) <= 2 * number + HOW.buffer + HOW.streams * (2 + 1)


def test_a_server_that_cuts_a_connection(videos, server) -> None:
    server.cuts = [5_000, 40_000]
    assert clips(videos, range(8), server.url) == clips(videos, range(8))
    server.cuts = [1_000] * 100
    before = threading.active_count(), children()
    with pytest.raises(TrainerError, match=r"http://.*tar broke off after 1000 bytes, 3 times"):
        clips(videos, range(8), server.url)
    until = time.monotonic() + 10  # the server's own threads may still be ending
    while (threading.active_count(), children()) != before:
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.mark.parametrize("kind", ["another shard", "a page", "an end"])
def test_a_shard_that_is_not_the_one_of_the_data_set(kind, videos, dataset, tmp_path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(dataset.folder, copy)
    changed, other = sorted({copy / v.shard.name for v in videos})[:2]
    message = rf"{changed}: {changed.name} does not hold .* where dataset.json says"
    if kind == "another shard":
        shutil.copy(other, changed)
    elif kind == "a page":
        changed.write_text("<html>Please log in</html>" * 1000)
    else:
        changed.write_bytes(changed.read_bytes()[:1000])
        message = f"{changed} broke off after 1000 bytes: .* bytes are missing"
    before = threading.active_count()
    with pytest.raises(TrainerError, match=message):
        clips(videos, range(9), str(copy))
    assert threading.active_count() == before


def test_a_shard_that_is_not_there(videos, server, tmp_path) -> None:
    with pytest.raises(TrainerError, match=r"nowhere/.*tar cannot be read: curl: \(22\) .* 404"):
        clips(videos, range(2), f"{server.url}/nowhere")
    with pytest.raises(TrainerError, match=r"tar cannot be read: No such file or directory"):
        clips(videos, range(2), str(tmp_path))


def test_a_frame_that_is_no_picture_is_named(videos) -> None:
    (batch,) = clips(videos, range(1))
    spoilt = replace(batch[0], jpegs=(b"no picture",) * 8)
    with pytest.raises(TrainerError, match=rf"Frame {spoilt.frames[0]} of"):
        list(read_batches(ClipReader(videos), [[spoilt]], 1))


def interrupt(number: int, frame: object) -> None:
    raise InterruptedError  # as Ctrl-C would


@pytest.mark.parametrize(
    "command",
    ["cat {}", f"head -c 3000 {{}}; {SLEEP}", f"head -c 3000 {{}} | (cat; {SLEEP}) | cat"],
    ids=["reading", "waiting", "a child waiting"],
)
def test_closing_early_leaves_nothing_behind(command, videos, dataset) -> None:
    before = threading.active_count(), children()
    source = f"pipe:cd {dataset.folder}; {command}"
    requests = requests_of(videos, Batches(range(1000), 4), source)
    if command == "cat {}":
        next(requests)
    else:  # it would wait for ever
        signal.signal(signal.SIGALRM, interrupt)
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        with pytest.raises(InterruptedError):
            next(requests)
    since = time.monotonic()
    requests.close()
    assert time.monotonic() - since < 2
    assert (threading.active_count(), children()) == before
    assert is_gone(SLEEP)


def test_closing_early_while_the_server_hangs(videos, server) -> None:
    before = children()
    server.hang.set()
    requests = requests_of(videos, Batches(range(1000), 4), server.url)
    signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    since = time.monotonic()
    with pytest.raises(InterruptedError):
        next(requests)
    assert time.monotonic() - since < 2
    assert children() == before


def test_more_streams_than_shards(videos) -> None:
    with pytest.raises(TrainerError, match="4 streams need at least 4 shards"):
        clips(videos, range(1), streams=4)
    with pytest.raises(TrainerError, match="4 processes x 1 streams need at least 4 shards"):
        clips(videos, range(1), streams=0, rank=Rank(1, 4))


def test_clips_of_unevenly_spaced_frames(motion) -> None:
    """Those that are drawn of the same videos with the same times when they are not streamed."""
    timings, batches = timings_of(motion.videos, 25.0), Batches(range(6), 4)
    shards, one = stream_shards(motion.videos, {}), replace(HOW, streams=1)
    requests = stream_requests(motion.videos, timings, shards, batches, PAIRS, one)
    for number, batch in enumerate(requests):
        assert is_as_drawn(batch, batches.draws(number), timings)
