"""The order in which a rank reads streamed shards and emits their videos: pure functions of (seed,
rank, streams, buffer) and the shards' sizes.

The shards of all epochs, permuted in each epoch, form one endless sequence. It is dealt round-robin
to the streams of all ranks, so none ever waits for another or runs out. A rank takes a video from
each of its streams in turn: that is the reading order. Blocks of it are permuted: that is the order
in which the videos are emitted.

    3 shards, epoch by epoch           b a c | a c b | c b a ...
    rank 0, its only stream            b   c   c   c   a
    rank 1, its only stream              a   a   b   b
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from trainer.distributed import Rank
from trainer.errors import TrainerError
from trainer.random_streams import BUFFER_ORDER, SHARD_ORDER, generator_of

DEFAULT_STREAMS = 4  # per rank


@dataclass(frozen=True)
class Order:
    """The parameters that the order depends on.

    Attributes:
        sizes: number of training videos in each shard, at least 1
        streams: number of shards that this rank reads at the same time, at least 1
        buffer: number of videos that are shuffled together, at least 1
    """

    sizes: tuple[int, ...]
    seed: int
    rank: Rank
    streams: int
    buffer: int


@dataclass(frozen=True)
class Visit:
    """A shard that a stream reads, from some video on.

    Attributes:
        start: number of videos skipped at the beginning of the shard
        ordinal: number, within the stream, of the first video that is not skipped
    """

    shard: int
    start: int
    ordinal: int


def choose_streams(asked: int, shards: int, world: int) -> int:
    """The number of streams that each of `world` ranks reads: `asked`, or for 0 up to
    DEFAULT_STREAMS. Raises TrainerError if there are more streams than shards: two streams would
    read the same shard at the same time."""
    streams = asked or max(1, min(DEFAULT_STREAMS, shards // world))
    if streams * world <= shards:
        return streams
    remedies = ["build the shards with fewer videos each (--videos-per-shard)"]
    if world > 1 and shards >= streams:
        remedies.insert(0, f"train with fewer processes ({shards // streams})")
    if shards >= world:
        remedies.insert(0, f"read fewer streams with --set data.streams={shards // world}")
    total = f"{world} processes x {streams} streams" if world > 1 else f"{streams} streams"
    raise TrainerError(
        f"{total} need at least {streams * world} shards with training videos, and there are "
        f"{shards}: {', or '.join(remedies)}."
    )


def visits(order: Order, stream: int, first: int) -> Iterator[Visit]:
    """Yield the shards that a stream reads from its video number `first` on, without end."""
    all_streams = order.rank.world * order.streams
    position, ordinal = order.rank.number * order.streams + stream, 0
    while True:
        epoch, in_epoch = divmod(position, len(order.sizes))
        shard = _epoch_order(order.seed, epoch, len(order.sizes))[in_epoch]
        end = ordinal + order.sizes[shard]
        if end > first:
            start = max(0, first - ordinal)
            yield Visit(shard, start, ordinal + start)
        position, ordinal = position + all_streams, end


def emitted_at(order: Order, read: int) -> int:
    """The position in the order of emission of the video at position `read` in reading order."""
    block, place = divmod(read, order.buffer)
    return block * order.buffer + _block(order, block)[1][place]


def read_at(order: Order, emitted: int) -> int:
    """The inverse of `emitted_at`: the position in reading order of the video emitted at
    `emitted`."""
    block, place = divmod(emitted, order.buffer)
    return block * order.buffer + _block(order, block)[0][place]


def reads_of(order: Order, emitted: range) -> range:
    """The range of positions in reading order that covers the videos emitted at `emitted`. (It may
    also cover videos that are emitted earlier or later; the reader skips them.)"""
    if not emitted:
        return range(0)
    buffer = order.buffer
    last = emitted.stop - 1
    in_last_block = range(max(emitted.start, last // buffer * buffer), emitted.stop)
    return range(
        emitted.start // buffer * buffer,
        1 + max(read_at(order, number) for number in in_last_block),
    )


@lru_cache(maxsize=8)
def _epoch_order(seed: int, epoch: int, shards: int) -> tuple[int, ...]:
    return tuple(generator_of(seed, epoch, SHARD_ORDER).permutation(shards).tolist())


def _block(order: Order, block: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return _block_order(order.seed, order.rank.number, order.buffer, block)


@lru_cache(maxsize=8)
def _block_order(
    seed: int, rank: int, buffer: int, block: int
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The permutation of a block from order of emission to reading order, and its inverse."""
    reads = generator_of(seed, rank, block, BUFFER_ORDER).permutation(buffer)
    return tuple(reads.tolist()), tuple(np.argsort(reads).tolist())
