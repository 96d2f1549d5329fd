"""Which video goes into which shard. Pure: the same videos and settings, the same plan."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from builder.catalog.source import Source


@dataclass(frozen=True)
class ShardPlan:
    """One shard to build.

    Attributes:
        splits: the one split membership of all its videos
        keys: positions in the catalog, in the order of the shard
    """

    index: int
    splits: dict[str, str]
    keys: tuple[int, ...]


def plan_shards(videos: Sequence[Source], videos_per_shard: int) -> tuple[ShardPlan, ...]:
    """Shards of one split membership each, of nearly equal length, at most `videos_per_shard`.

    Inside a membership the videos are ordered by the hash of their name: a shard mixes classes,
    so that a reader which streams it sees a good mixture.
    """
    members: dict[tuple[tuple[str, str], ...], list[int]] = {}
    for key, video in enumerate(videos):
        members.setdefault(tuple(sorted(video.splits.items())), []).append(key)
    plans: list[ShardPlan] = []
    for splits, keys in sorted(members.items()):
        keys.sort(key=lambda k: hashlib.sha256(os.fsencode(videos[k].name)).digest())
        shards = -(-len(keys) // videos_per_shard)
        cuts = [len(keys) * i // shards for i in range(shards + 1)]
        for low, high in pairwise(cuts):
            plans.append(ShardPlan(len(plans), dict(splits), tuple(keys[low:high])))
    return tuple(plans)


LARGE_SHARD = 512 * 10**6  # bytes of source videos


def order_of_work(
    plans: Sequence[ShardPlan], sizes: Sequence[int], *, at_once: bool
) -> list[tuple[ShardPlan, list[int]]]:
    """The shards with their keys, in the order in which to build them. `sizes`: bytes of every
    source video; `at_once`: whether several videos of a shard are decoded at the same time.

    Shards with the largest video come first, and in a shard the largest video: what is begun last
    is then small, and the workers end together. Decoded frames wait in memory until it is their
    turn in the shard, so one worker alone, or a shard of very large videos, keeps to that turn.
    """

    def keys(plan: ShardPlan) -> list[int]:
        if not at_once or sum(sizes[key] for key in plan.keys) > LARGE_SHARD:
            return list(plan.keys)
        return sorted(plan.keys, key=lambda key: (-sizes[key], key))

    ordered = sorted(plans, key=lambda plan: (-max(sizes[key] for key in plan.keys), plan.index))
    return [(plan, keys(plan)) for plan in ordered]
