"""Assign videos to shards. The plan depends only on the videos and the settings."""

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
        index: number of the shard
        splits: the split membership, which all its videos share
        keys: positions in the catalog, in the order of the shard
    """

    index: int
    splits: dict[str, str]
    keys: tuple[int, ...]


def plan_shards(videos: Sequence[Source], videos_per_shard: int) -> tuple[ShardPlan, ...]:
    """Plan shards of one split membership each, of nearly equal length, at most `videos_per_shard`.

    Within a membership, videos are ordered by the hash of their name, so that a shard mixes classes
    and a streaming reader sees well-mixed batches.
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
    """The shards with their keys, in the order in which to build them. `sizes` are the bytes of all
    source videos; `at_once` says whether several videos of a shard are decoded at the same time.

    Shards with the largest videos come first, and within a shard the largest video, so that small
    ones are left for the end and all workers finish together. But decoded frames wait in memory for
    their turn in the shard, so a single worker, and shards of very large videos, keep the shard's
    order.
    """

    def keys(plan: ShardPlan) -> list[int]:
        if not at_once or sum(sizes[key] for key in plan.keys) > LARGE_SHARD:
            return list(plan.keys)
        return sorted(plan.keys, key=lambda key: (-sizes[key], key))

    ordered = sorted(plans, key=lambda plan: (-max(sizes[key] for key in plan.keys), plan.index))
    return [(plan, keys(plan)) for plan in ordered]
