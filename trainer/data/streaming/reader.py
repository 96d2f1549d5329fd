"""Training clips of shards that are read from start to end, wherever they are.

The other way, `trainer.data.clip_sampler.pair_requests`, leaves it to the reader to jump to the
frames of a clip, which is best on a local disk. Here every shard is read in order, once an epoch,
which servers and pipes can do, too.
"""

from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from threading import Event

from builder.errors import BuilderError
from builder.shards.dataset import Video, stream_samples
from trainer.data.clip_sampler import Batches, ClipRequest, Pairs, Timing, draw_pair
from trainer.data.streaming.order import Order, choose_streams, emitted_at, reads_of, visits
from trainer.data.streaming.prefetch import ReadAhead
from trainer.data.streaming.retrying import Patience, RetryingStream
from trainer.data.streaming.transport import path_of, shown, url_of
from trainer.errors import TrainerError


@dataclass(frozen=True)
class StreamShard:
    """A shard with training videos.

    Attributes:
        url: or a path
        videos: positions in the list of videos, in the order in which they lie there
    """

    url: str
    videos: tuple[int, ...]


@dataclass(frozen=True)
class Streaming:
    """How shards are streamed.

    Attributes:
        streams: shards that are read at a time; 0: a few
        buffer: videos that are mixed: their clips are held in memory
    """

    streams: int
    buffer: int
    patience: Patience = field(default_factory=Patience)


Pair = tuple[ClipRequest, ClipRequest]  # with their frames
Sample = tuple[Sequence[int], memoryview]  # where a video's frames are, and the frames


def stream_shards(videos: Sequence[Video], sources: Mapping[Path, str]) -> tuple[StreamShard, ...]:
    """The shards that hold `videos`. `sources`: where the shards of the data set are whose
    `dataset.json` is in a folder; those of other folders are beside it. Raises TrainerError for a
    source of an unknown kind."""
    positions: dict[Path, list[int]] = {}
    for position, video in enumerate(videos):
        positions.setdefault(video.shard, []).append(position)
    return tuple(
        StreamShard(
            url_of(sources[path.parent], path.name)
            if path.parent in sources
            else path_of(path.parent, path.name),
            tuple(sorted(of_shard, key=lambda i: videos[i].location.start)),
        )
        for path, of_shard in positions.items()
    )


def stream_requests(
    videos: Sequence[Video],
    timings: Sequence[Timing],
    shards: Sequence[StreamShard],
    batches: Batches,
    pairs: Pairs,
    how: Streaming,
) -> Generator[list[ClipRequest], None, None]:
    """Training clips as `pair_requests` gives them, with their frames, but in an order in which
    `shards` can be read from start to end.

    What batch i gets depends on the arguments and i alone, not on where `batches` begins. Closing
    the generator ends its threads and what they read from.

    Raises TrainerError if there are not enough shards, at once; and in the course of reading if one
    cannot be read or is not what `dataset.json` says.
    """
    order = Order(
        sizes=tuple(len(shard.videos) for shard in shards),
        seed=pairs.seed,
        rank=batches.rank,
        streams=choose_streams(how.streams, len(shards), batches.rank.world),
        buffer=how.buffer,
    )
    return _requests(_Task(videos, timings, shards, order, pairs, batches, how.patience))


@dataclass(frozen=True)
class _Task:
    """All that decides what a rank reads and hands out."""

    videos: Sequence[Video]
    timings: Sequence[Timing]
    shards: Sequence[StreamShard]
    order: Order
    pairs: Pairs
    batches: Batches
    patience: Patience

    @property
    def emitted(self) -> range:
        """The videos that come out, by their numbers among all of this rank."""
        numbers, share = self.batches.numbers, self.batches.share
        return range(numbers.start * share, numbers.stop * share)


def _requests(task: _Task) -> Generator[list[ClipRequest], None, None]:
    reads = reads_of(task.order, task.emitted)
    count, buffer, share = task.order.streams, task.order.buffer, task.batches.share
    ahead = max(2, -(-share // count))
    streams: list[ReadAhead] = []
    held: dict[int, Pair] = {}  # by when they come out
    read = reads.start

    def take(number: int) -> Pair:
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
        for batch in task.batches.numbers:
            both = [take(number) for number in range(batch * share, (batch + 1) * share)]
            yield [first for first, _ in both] + [second for _, second in both]
    finally:
        for stream in streams:
            stream.stop()
        for stream in streams:
            stream.join()


def _read_stream(
    task: _Task, reads: range, stream: int, stop: Event
) -> Generator[Pair, None, None]:
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
) -> Generator[Pair, None, None]:
    """The pairs of some videos of a shard. `wanted`: video, and when it comes out."""
    videos = [task.videos[video] for video, _ in wanted]
    with closing(read_shard(url, videos, task.patience, stop)) as samples:
        for (video, emitted), (offsets, blob) in zip(wanted, samples, strict=True):
            yield _cut(task, video, emitted, offsets, blob)


def read_shard(
    url: str, videos: Sequence[Video], patience: Patience, stop: Event
) -> Generator[Sample, None, None]:
    """Frame offsets and frames (good until the next ones) of some videos of a shard, which are in
    the order in which they lie there. Raises TrainerError if it cannot be read, or holds others."""
    with closing(RetryingStream(url, videos[-1].location.end, patience, stop)) as file:
        try:
            yield from stream_samples(file.readinto, videos)
        except BuilderError as error:
            raise TrainerError(f"{shown(url)}: {error}") from error


def _cut(task: _Task, video: int, emitted: int, offsets: Sequence[int], blob: memoryview) -> Pair:
    """The two clips that are drawn from a video, with no more of its frames than they need."""
    batch, place = divmod(emitted, task.batches.share)
    draw = task.batches.draws(batch)[place]
    first, second = draw_pair(draw, video, task.timings[video], task.pairs)
    numbers = {*first.frames, *second.frames}
    jpegs = {frame: bytes(blob[offsets[frame] : offsets[frame + 1]]) for frame in numbers}
    return with_frames(first, jpegs), with_frames(second, jpegs)


def with_frames(request: ClipRequest, jpegs: Mapping[int, bytes]) -> ClipRequest:
    """A clip whose frames, by their numbers, were read already."""
    return replace(request, jpegs=tuple(jpegs[frame] for frame in request.frames))
