from collections import Counter
from itertools import islice, takewhile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.data.streaming.order import (
    Order,
    choose_streams,
    emitted_at,
    read_at,
    reads_of,
    visits,
)
from trainer.distributed import Rank
from trainer.errors import TrainerError


@st.composite
def orders(draw: st.DrawFn) -> Order:
    world, streams = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    shards = world * streams + draw(st.integers(0, 5))
    return Order(
        sizes=tuple(draw(st.lists(st.integers(1, 9), min_size=shards, max_size=shards))),
        seed=draw(st.integers(0, 1000)),
        rank=Rank(draw(st.integers(0, world - 1)), world),
        streams=streams,
        buffer=draw(st.integers(1, 40)),
    )


def of_rank(order: Order, number: int) -> Order:
    return Order(order.sizes, order.seed, Rank(number, order.rank.world), order.streams, 1)


def shards_read(order: Order, stream: int, count: int) -> list[int]:
    return [visit.shard for visit in islice(visits(order, stream, 0), count)]


@given(orders())
def test_every_shard_once_an_epoch_over_all_streams_of_all_ranks(order: Order) -> None:
    every, shards = order.rank.world * order.streams, len(order.sizes)
    rounds = 3 * shards  # of dealing a shard to every stream: so many epochs are complete
    dealt = [
        shards_read(of_rank(order, rank), stream, rounds)
        for rank in range(order.rank.world)
        for stream in range(order.streams)
    ]
    row = [dealt[place % every][place // every] for place in range(rounds * every)]
    for epoch in range(len(row) // shards):
        assert sorted(row[epoch * shards : (epoch + 1) * shards]) == list(range(shards))


@given(orders())
def test_no_two_streams_read_the_same_shard_of_an_epoch_and_each_has_one(order: Order) -> None:
    first = Counter(
        shards_read(of_rank(order, rank), stream, 1)[0]
        for rank in range(order.rank.world)
        for stream in range(order.streams)
    )
    assert len(first) == order.rank.world * order.streams


@given(orders(), st.integers(0, 200))
def test_a_stream_goes_on_anywhere(order: Order, first: int) -> None:
    def videos(start: int) -> list[tuple[int, int, int]]:
        """(ordinal, shard, place in the shard) of the videos from `start` to 260."""
        found = []
        for visit in takewhile(lambda visit: visit.ordinal < 260, visits(order, 0, start)):
            places = range(visit.start, order.sizes[visit.shard])
            found += [(visit.ordinal + n, visit.shard, p) for n, p in enumerate(places)]
        return [video for video in found if video[0] < 260]

    assert videos(first) == videos(0)[first:]
    assert [ordinal for ordinal, _, _ in videos(0)] == list(range(260))


@given(orders(), st.integers(0, 500))
def test_a_block_is_permuted(order: Order, number: int) -> None:
    assert read_at(order, emitted_at(order, number)) == number
    assert emitted_at(order, read_at(order, number)) == number
    assert emitted_at(order, number) // order.buffer == number // order.buffer
    assert abs(emitted_at(order, number) - number) < order.buffer


@given(orders(), st.integers(0, 100), st.integers(0, 100))
def test_what_is_read_is_what_comes_out_and_no_more_than_a_block_else(
    order: Order, start: int, count: int
) -> None:
    emitted = range(start, start + count)
    reads = reads_of(order, emitted)
    assert {read_at(order, number) for number in emitted} <= set(reads)
    if emitted:
        assert start - reads.start < order.buffer
        assert reads.start // order.buffer == start // order.buffer
        assert emitted_at(order, reads[-1]) in emitted
    else:
        assert not reads


def test_order_is_mixed_and_depends_on_seed_epoch_rank_and_block() -> None:
    order = Order((5,) * 20, 0, Rank(0, 1), 1, 50)
    epochs = shards_read(order, 0, 40)
    assert epochs[:20] != epochs[20:]
    assert epochs != shards_read(Order((5,) * 20, 1, Rank(0, 1), 1, 50), 0, 40)
    block = [read_at(order, n) for n in range(50)]
    assert block != [read_at(order, n) - 50 for n in range(50, 100)]
    assert block != [read_at(Order((5,) * 20, 0, Rank(1, 2), 1, 50), n) for n in range(50)]
    assert sum(abs(read - n) for n, read in enumerate(block)) / 50 > 10


def test_choosing_streams() -> None:
    assert choose_streams(0, 100, 1) == 4
    assert choose_streams(0, 100, 50) == 2
    assert choose_streams(0, 3, 2) == 1
    assert choose_streams(3, 3, 1) == 3


@pytest.mark.parametrize(
    ("asked", "shards", "world", "message"),
    [
        (
            5,
            3,
            1,
            r"5 streams need at least 5 shards .* there are 3: read fewer streams with --set "
            r"data.streams=3, or build the shards with fewer videos each \(--videos-per-shard\).",
        ),
        (
            2,
            7,
            4,
            "4 processes x 2 streams need at least 8 shards .* there are 7: read fewer streams "
            r"with --set data.streams=1, or train with fewer processes \(3\), or build",
        ),
        (0, 2, 3, r"3 processes x 1 streams .* there are 2: train with fewer processes \(2\), or"),
    ],
)
def test_more_streams_than_shards(asked: int, shards: int, world: int, message: str) -> None:
    with pytest.raises(TrainerError, match=message):
        choose_streams(asked, shards, world)
