from dataclasses import replace
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from builder.build.plan import ShardPlan, order_of_work, plan_shards
from builder.catalog.source import Source

memberships = st.sampled_from([{"1": "train"}, {"1": "test"}, {"1": "train", "2": "test"}, {}])


def source(i: int, splits: dict[str, str]) -> Source:
    return Source(f"v{i}", Path(f"v{i}"), None, f"g{i}", splits)


@given(st.lists(memberships, max_size=60), st.integers(1, 9))
def test_every_video_once_and_no_mixed_shard(splits, size):
    videos = [source(i, s) for i, s in enumerate(splits)]
    plans = plan_shards(videos, size)
    assert sorted(key for plan in plans for key in plan.keys) == list(range(len(videos)))
    assert [plan.index for plan in plans] == list(range(len(plans)))
    for plan in plans:
        assert 1 <= len(plan.keys) <= size
        assert all(videos[key].splits == plan.splits for key in plan.keys)


def test_shards_of_a_membership_are_of_nearly_equal_length():
    plans = plan_shards([source(i, {"1": "train"}) for i in range(129)], 128)
    assert sorted(len(plan.keys) for plan in plans) == [64, 65]


def test_a_shard_mixes_the_order_of_the_catalog():
    (plan,) = plan_shards([source(i, {}) for i in range(50)], 128)
    assert list(plan.keys) != sorted(plan.keys)


def test_the_largest_first_unless_their_frames_would_fill_the_memory():
    first, second = ShardPlan(0, {}, (0, 1, 2)), ShardPlan(1, {}, (3, 4))
    sizes = [1, 5, 3, 2, 9]
    sorted_too = [(second, [4, 3]), (first, [1, 2, 0])]
    assert order_of_work((first, second), sizes, at_once=True) == sorted_too
    as_planned = [(second, [3, 4]), (first, [0, 1, 2])]
    assert order_of_work((first, second), sizes, at_once=False) == as_planned
    assert order_of_work((first,), [1, 3, 512 * 10**6 - 4], at_once=True)[0][1] == [2, 1, 0]
    assert order_of_work((first,), [1, 3, 512 * 10**6 - 3], at_once=True)[0][1] == [0, 1, 2]
    assert order_of_work((first, replace(first, index=1)), [7] * 3, at_once=True) == [
        (first, [0, 1, 2]),
        (replace(first, index=1), [0, 1, 2]),
    ]
