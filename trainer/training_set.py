"""The training videos of one split of one or several data sets."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder.shard import ShardDataset, Video
from trainer.clips import count_short
from trainer.config import Data
from trainer.errors import TrainerError


@dataclass(frozen=True)
class TrainingSet:
    """The training videos of one split of one or several data sets."""

    videos: tuple[Video, ...]
    groups: tuple[int, ...]  # number of each video's source group, over all data sets
    folders: tuple[Path, ...]
    counts: dict[str, dict[str, Any]]  # of each data set, as in dataset.json
    short: int  # videos too short for a clip at the largest stride


def gather(folders: Sequence[Path], settings: Data) -> TrainingSet:
    """All training videos of a split. Raises TrainerError where a data set has none, or where one
    is too short and the policy is `error`."""
    videos: list[Video] = []
    groups: dict[tuple[Path, str], int] = {}
    numbers, counts, split = [], {}, settings.split
    for folder in folders:
        dataset = ShardDataset(folder)
        own = dataset.subset(split, "train")
        if not own:
            raise TrainerError(
                f"{folder} has no training videos in split {split}; "
                f"its splits are {describe_splits(dataset)}. Choose one with --set data.split=N."
            )
        numbers += [groups.setdefault((folder, v.group), len(groups)) for v in own]
        videos.extend(own)
        counts[str(folder)] = {"training_videos": len(own), **dataset.counts}
    short = count_short([v.frames for v in videos], settings.frames, settings.strides)
    if short and settings.short_videos == "error":
        raise TrainerError(
            f"{short} of {len(videos)} training videos are too short for {settings.frames} frames "
            f"at stride {max(settings.strides)}, and data.short_videos is 'error'. Allow it with "
            "--set data.short_videos=loop (or repeat_last), or take shorter clips."
        )
    return TrainingSet(tuple(videos), tuple(numbers), tuple(folders), counts, short)


def describe_splits(dataset: ShardDataset) -> str:
    """ "1 (test, train), 2 (train)"."""
    return ", ".join(f"{s} ({', '.join(sorted(p))})" for s, p in sorted(dataset.splits().items()))
