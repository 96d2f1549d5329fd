"""Training clips of shards that are read from start to end, wherever they are.

The other way, `trainer.data.clips.ClipReader`, jumps to the frames of a clip, which is best on a
local disk. Here every shard is read in order, once an epoch, which servers and pipes can do, too.
"""

from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Event

import numpy as np

from builder.errors import BuilderError
from builder.shards.dataset import Video, stream_samples
from trainer.data.clip_sampler import ClipRequest, Pairs, Times, draw_pair, draws_of
from trainer.data.decode import canvas_of, decode_clip
from trainer.data.streaming.order import Order, choose_streams, emitted_at, reads_of, visits
from trainer.data.streaming.prefetch import ReadAhead
from trainer.data.streaming.retrying import Patience, RetryingStream
from trainer.data.streaming.transport import path_of, shown, url_of
from trainer.distributed import Rank
from trainer.errors import TrainerError


@dataclass(frozen=True)
class StreamShard:
    """A shard with training videos."""

    url: str  # or a path
    videos: tuple[int, ...]  # positions in the list of videos, in the order in which they lie there


@dataclass(frozen=True)
class FetchedClip:
    """A clip that is read, but not decoded."""

    request: ClipRequest
    jpegs: tuple[bytes, ...]  # of its frames

    @property
    def video(self) -> int:
        return self.request.video

    @property
    def frames(self) -> tuple[int, ...]:
        return self.request.frames

    @property
    def stride(self) -> int:
        return self.request.stride


FetchedPair = tuple[FetchedClip, FetchedClip]


class StreamReader:
    """Decodes fetched clips. A `trainer.data.clips.Reader`."""

    def __init__(self, videos: Sequence[Video], short_side: int = 0) -> None:
        """`short_side`: as in `trainer.data.clips.ClipReader`."""
        self.videos = videos
        self._short_side = short_side
        self.height, self.width = canvas_of(videos, short_side)

    def read(self, request: FetchedClip, canvas: np.ndarray) -> tuple[int, int]:
        """Decode a clip into `canvas` (uint8, T x H x W x 3); height and width come back. Raises
        TrainerError for a frame that is no JPEG."""
        video = self.videos[request.video]
        return decode_clip(request.jpegs, request.frames, video, canvas, self._short_side)


def stream_shards(videos: Sequence[Video], sources: Mapping[Path, str]) -> tuple[StreamShard, ...]:
    """The shards that hold `videos`. `sources`: where the shards of the data set are whose
    `dataset.json` is in a folder; those of other folders are beside it. Raises TrainerError for a
    source of an unknown kind."""
    found: dict[Path, list[int]] = {}
    for position, video in enumerate(videos):
        found.setdefault(video.shard, []).append(position)
    return tuple(
        StreamShard(
            url_of(sources[path.parent], path.name)
            if path.parent in sources
            else path_of(path.parent, path.name),
            tuple(sorted(positions, key=lambda i: videos[i].location.start)),
        )
        for path, positions in found.items()
    )


def stream_requests(
    videos: Sequence[Video],
    rates: Sequence[float],
    shards: Sequence[StreamShard],
    batches: range,
    pairs: Pairs,
    *,
    batch: int,
    rank: Rank,
    streams: int,
    buffer: int,
    patience: Patience | None = None,
    times: Sequence[Times] | None = None,
) -> Generator[list[FetchedClip], None, None]:
    """Training clips of the joint batches with these numbers, as `pair_requests` gives them, but in
    an order in which `shards` can be read from start to end.

    `streams` shards are read at a time (0: a few), and `buffer` videos mixed: their clips are held
    in memory. What batch i gets depends on the arguments and i alone, not on where `batches`
    begins. Closing the generator ends its threads and what they read from.

    Raises TrainerError if there are not enough shards, at once; and in the course of reading if one
    cannot be read or is not what `dataset.json` says.
    """
    order = Order(
        sizes=tuple(len(shard.videos) for shard in shards),
        seed=pairs.seed,
        rank=rank,
        streams=choose_streams(streams, len(shards), rank.world),
        buffer=buffer,
    )
    patience = patience or Patience()
    task = _Task(videos, rates, times, shards, order, pairs, batches, batch, patience)
    return _requests(task)


@dataclass(frozen=True)
class _Task:
    """All that decides what a rank reads and hands out."""

    videos: Sequence[Video]
    rates: Sequence[float]
    times: Sequence[Times] | None
    shards: Sequence[StreamShard]
    order: Order
    pairs: Pairs
    batches: range
    batch: int
    patience: Patience

    @property
    def own(self) -> int:
        """Videos of a batch that are this rank's."""
        return self.batch // self.order.rank.world

    @property
    def emitted(self) -> range:
        """The videos that come out, by their numbers among all of this rank."""
        return range(self.batches.start * self.own, self.batches.stop * self.own)


def _requests(task: _Task) -> Generator[list[FetchedClip], None, None]:
    reads = reads_of(task.order, task.emitted)
    count, buffer = task.order.streams, task.order.buffer
    ahead = max(2, -(-task.own // count))
    streams: list[ReadAhead] = []
    held: dict[int, FetchedPair] = {}  # by when they come out
    read = reads.start

    def take(number: int) -> FetchedPair:
        """The pair that comes out as `number`; on the way, take in what is there of the next."""
        nonlocal read
        until = min(number + buffer, reads.stop)
        while number not in held or (read < until and streams[read % count].has_one()):
            if (emitted := emitted_at(task.order, read)) in task.emitted:
                held[emitted] = streams[read % count].get()
            read += 1
        return held.pop(number)

    try:
        for number in range(count):
            streams.append(ReadAhead(partial(_read_stream, task, reads, number), ahead))
        for batch in task.batches:
            both = [take(number) for number in range(batch * task.own, (batch + 1) * task.own)]
            yield [first for first, _ in both] + [second for _, second in both]
    finally:
        for stream in streams:
            stream.stop()
        for stream in streams:
            stream.join()


def _read_stream(
    task: _Task, reads: range, stream: int, stop: Event
) -> Generator[FetchedPair, None, None]:
    """The pairs of one stream, without those of videos that come out before or after the task."""
    order = task.order
    for visit in visits(order, stream, reads.start // order.streams):
        shard = task.shards[visit.shard]
        wanted = []
        for ordinal, video in enumerate(shard.videos[visit.start :], visit.ordinal):
            read = ordinal * order.streams + stream
            if read >= reads.stop:
                break
            if (emitted := emitted_at(order, read)) in task.emitted:
                wanted.append((video, emitted))
        if wanted:
            yield from _read_shard(task, shard.url, wanted, stop)
        if read >= reads.stop:
            return


def _read_shard(
    task: _Task, url: str, wanted: list[tuple[int, int]], stop: Event
) -> Generator[FetchedPair, None, None]:
    """The pairs of some videos of a shard. `wanted`: video, and when it comes out."""
    videos = [task.videos[video] for video, _ in wanted]
    with closing(RetryingStream(url, videos[-1].location.end, task.patience, stop)) as file:
        samples = stream_samples(file.readinto, videos)
        try:
            for (video, emitted), (offsets, blob) in zip(wanted, samples, strict=True):
                yield _cut(task, video, emitted, offsets, blob)
        except BuilderError as error:
            raise TrainerError(f"{shown(url)}: {error}") from error


def _cut(
    task: _Task, video: int, emitted: int, offsets: Sequence[int], blob: memoryview
) -> FetchedPair:
    """The two clips that are drawn from a video, with no more of its frames than they need."""
    batch, place = divmod(emitted, task.own)
    draw = draws_of(batch, task.batch, task.order.rank)[place]
    frames, times = task.videos[video].frames, task.times[video] if task.times else None
    pair = draw_pair(draw, video, frames, task.rates[video], task.pairs, times)
    needed = {frame for request in pair for frame in request.frames}
    jpegs = {frame: bytes(blob[offsets[frame] : offsets[frame + 1]]) for frame in needed}
    first, second = (
        FetchedClip(request, tuple(jpegs[frame] for frame in request.frames)) for request in pair
    )
    return first, second
