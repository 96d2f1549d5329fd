"""Training clips from streamed shards, local or remote.

The alternative, `trainer.data.clip_sampler.pair_requests`, yields requests whose frames are then
read by random access, which is best on a local disk. Here every shard is read sequentially, once
an epoch, which also works for servers and pipes.
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
        url: a URL, a `pipe:` command or an absolute path
        videos: positions in the list of videos, in the order in which the shard holds them
    """

    url: str
    videos: tuple[int, ...]


@dataclass(frozen=True)
class Streaming:
    """How shards are streamed.

    Attributes:
        streams: number of shards read at the same time; 0 for the default
        buffer: number of videos that are shuffled together; their clips are held in memory
    """

    streams: int
    buffer: int
    patience: Patience = field(default_factory=Patience)


Pair = tuple[ClipRequest, ClipRequest]  # with their frames
Sample = tuple[Sequence[int], memoryview]  # a video's frame offsets, and its Motion-JPEG stream


def stream_shards(videos: Sequence[Video], sources: Mapping[Path, str]) -> tuple[StreamShard, ...]:
    """The shards that hold `videos`. `sources` maps the folder of a `dataset.json` to the source of
    its shards; shards of other folders are local files. Raises TrainerError for a source of an
    unknown kind."""
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
    """Yield batches of training clips as `pair_requests` does, but with their frames, and in an
    order that allows `shards` to be read sequentially.

    The contents of batch i depend on the arguments and i alone, not on where `batches` begins.
    Closing the generator ends its threads and their connections.

    Raises TrainerError at once if there are too few shards, and while reading if a shard cannot be
    read or does not match `dataset.json`.
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
    """The parameters of what a rank reads and emits."""

    videos: Sequence[Video]
    timings: Sequence[Timing]
    shards: Sequence[StreamShard]
    order: Order
    pairs: Pairs
    batches: Batches
    patience: Patience

    @property
    def emitted(self) -> range:
        """Positions of the videos to be emitted in this rank's order of emission."""
        numbers, share = self.batches.numbers, self.batches.share
        return range(numbers.start * share, numbers.stop * share)


def _requests(task: _Task) -> Generator[list[ClipRequest], None, None]:
    reads = reads_of(task.order, task.emitted)
    count, buffer, share = task.order.streams, task.order.buffer, task.batches.share
    ahead = max(2, -(-share // count))
    streams: list[ReadAhead] = []
    held: dict[int, Pair] = {}  # by their position in the order of emission
    read = reads.start

    def take(number: int) -> Pair:
        """The pair emitted at position `number`. Also takes in later pairs that are ready."""
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
    """Yield the pairs of one stream, skipping videos that are not emitted within the task."""
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
    """Yield the pairs of some videos of a shard. `wanted`: video, position of emission."""
    videos = [task.videos[video] for video, _ in wanted]
    with closing(read_shard(url, videos, task.patience, stop)) as samples:
        for (video, emitted), (offsets, blob) in zip(wanted, samples, strict=True):
            yield _cut(task, video, emitted, offsets, blob)


def read_shard(
    url: str, videos: Sequence[Video], patience: Patience, stop: Event
) -> Generator[Sample, None, None]:
    """Yield frame offsets and frames (valid until the next sample) of some videos of a shard, given
    in the order in which the shard holds them. Raises TrainerError if the shard cannot be read or
    holds other videos."""
    with closing(RetryingStream(url, videos[-1].location.end, patience, stop)) as file:
        try:
            yield from stream_samples(file.readinto, videos)
        except BuilderError as error:
            raise TrainerError(f"{shown(url)}: {error}") from error


def _cut(task: _Task, video: int, emitted: int, offsets: Sequence[int], blob: memoryview) -> Pair:
    """Draw the two clips of a video, and copy the frames that they need."""
    batch, place = divmod(emitted, task.batches.share)
    draw = task.batches.draws(batch)[place]
    first, second = draw_pair(draw, video, task.timings[video], task.pairs)
    numbers = {*first.frames, *second.frames}
    jpegs = {frame: bytes(blob[offsets[frame] : offsets[frame + 1]]) for frame in numbers}
    return with_frames(first, jpegs), with_frames(second, jpegs)


def with_frames(request: ClipRequest, jpegs: Mapping[int, bytes]) -> ClipRequest:
    """The request with its encoded frames, taken from `jpegs` by their numbers."""
    return replace(request, jpegs=tuple(jpegs[frame] for frame in request.frames))
