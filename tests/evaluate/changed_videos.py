"""Open a data set and change its videos in memory, one by one."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from builder.shards.dataset import ShardDataset, Video


def changed_videos(shards: Path, change: Callable[[int, Video], dict[str, Any]]) -> ShardDataset:
    dataset = ShardDataset(shards)
    dataset.__dict__["videos"] = tuple(
        replace(video, **change(i, video)) for i, video in enumerate(dataset.videos)
    )
    return dataset
