"""What a rank reads of shards that are read from start to end, and in which order its clips come:
pure functions of (seed, rank, streams, buffer) and the shards' sizes.

The shards of all epochs, each epoch's permuted, are one endless row. It is dealt to the streams of
all ranks like cards, so none ever waits for another or runs out. A rank takes a video of each of
its streams in turn: that is the order of reading. Blocks of it are permuted: that is the order in
which the videos come out.

    row of 3 shards, epoch by epoch    b a c | a c b | c b a ...
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

DEFAULT_STREAMS = 4  # of a rank


@dataclass(frozen=True)
class Order:
    """What decides the order.

    Attributes:
        sizes: training videos of each shard, at least 1
        streams: that this rank reads at the same time, at least 1
        buffer: videos that are mixed with one another, at least 1
    """

    sizes: tuple[int, ...]
    seed: int
    rank: Rank
    streams: int
    buffer: int


@dataclass(frozen=True)
class Visit:
    """A shard that a stream reads, or the rest of it.

    Attributes:
        start: videos of the shard that are left out at its beginning
        ordinal: number, in the stream, of the first video that is not
    """

    shard: int
    start: int
    ordinal: int


def choose_streams(asked: int, shards: int, world: int) -> int:
    """How many streams each of `world` ranks reads; `asked` 0: a few. Raises TrainerError if there
    are more streams than shards: two of them would read the same shard at the same time."""
    streams = asked or max(1, min(DEFAULT_STREAMS, shards // world))
    if streams * world <= shards:
        return streams
    ways = ["build the shards with fewer videos each (--videos-per-shard)"]
    if world > 1 and shards >= streams:
        ways.insert(0, f"train with fewer processes ({shards // streams})")
    if shards >= world:
        ways.insert(0, f"read fewer streams with --set data.streams={shards // world}")
    total = f"{world} processes x {streams} streams" if world > 1 else f"{streams} streams"
    raise TrainerError(
        f"{total} need at least {streams * world} shards with training videos, and there are "
        f"{shards}: {', or '.join(ways)}."
    )


def visits(order: Order, stream: int, first: int) -> Iterator[Visit]:
    """The shards that a stream reads from its video number `first` on, without end."""
    every = order.rank.world * order.streams
    place, ordinal = order.rank.number * order.streams + stream, 0
    while True:
        epoch, card = divmod(place, len(order.sizes))
        shard = _epoch_order(order.seed, epoch, len(order.sizes))[card]
        end = ordinal + order.sizes[shard]
        if end > first:
            start = max(0, first - ordinal)
            yield Visit(shard, start, ordinal + start)
        place, ordinal = place + every, end


def emitted_at(order: Order, read: int) -> int:
    """When the video that the rank reads as number `read` comes out: as number ..."""
    block, place = divmod(read, order.buffer)
    return block * order.buffer + _block(order, block)[1][place]


def read_at(order: Order, emitted: int) -> int:
    """When the video that comes out as number `emitted` is read: as number ..."""
    block, place = divmod(emitted, order.buffer)
    return block * order.buffer + _block(order, block)[0][place]


def reads_of(order: Order, emitted: range) -> range:
    """What the rank has to read so that these videos can come out. (Videos in it that come out
    before or after are read past.)"""
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
    """Of a block: what is read as which, at the places of coming out; and the other way round."""
    reads = generator_of(seed, rank, block, BUFFER_ORDER).permutation(buffer)
    return tuple(reads.tolist()), tuple(np.argsort(reads).tolist())
