"""Which video goes into which shard. Pure: the same videos and settings, the same plan."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from builder.catalog.source import Source


@dataclass(frozen=True)
class ShardPlan:
    """One shard to build."""

    index: int
    splits: dict[str, str]  # the one split membership of all its videos
    keys: tuple[int, ...]  # positions in the catalog, in the order of the shard


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


def order_of_work(
    plans: Sequence[ShardPlan], sizes: Sequence[int]
) -> list[tuple[ShardPlan, list[int]]]:
    """The shards with their keys, in the order in which to build them: shards with the largest
    video first, and in a shard the largest first. What is begun last is then small, so that
    the workers end together. `sizes`: bytes of every source video."""
    work = [(plan, sorted(plan.keys, key=lambda k: (-sizes[k], k))) for plan in plans]
    return sorted(work, key=lambda item: (-sizes[item[1][0]], item[0].index))
