"""The training videos of one split of one or several data sets."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder.shards.dataset import ShardDataset, Video, find_datasets
from trainer.config.settings import Data
from trainer.data.clip_sampler import Timing, count_short, timings_of
from trainer.data.streaming.retrying import fetch_metadata
from trainer.data.streaming.transport import is_remote, shown
from trainer.errors import TrainerError, TrainerUsageError


@dataclass(frozen=True)
class TrainingSet:
    """The training videos of one split of one or several data sets.

    Attributes:
        timings: one for each video
        groups: number of each video's source group, counted over all data sets
        labels: class number of each video, counted over all data sets; -1 if unknown. Only for
            metrics of the log
        sources: for each data set, the folder of its dataset.json, and the source of its shards
        counts: the counts of each data set's dataset.json, by its source
        short: number of videos too short for a clip at the largest stride
    """

    videos: tuple[Video, ...]
    timings: tuple[Timing, ...]
    groups: tuple[int, ...]
    labels: tuple[int, ...]
    sources: dict[Path, str]
    counts: dict[str, dict[str, Any]]
    short: int


def locate(places: Sequence[str], scratch: Path) -> dict[Path, str]:
    """Find the data sets at `places`: for each, the folder of its dataset.json and the source of
    its shards. A place is a folder that holds one or several data sets, or the URL or `pipe:`
    command of one data set, whose dataset.json is copied to `scratch`. Raises TrainerError or
    BuilderError if there is none."""
    folders: dict[Path, str] = {}
    for place in places:
        if is_remote(place):
            folder = scratch / str(len(folders))
            fetch_metadata(place, folder)
            folders[folder] = place
        else:
            folders |= {folder: str(folder.resolve()) for folder in find_datasets(Path(place))}
    return folders


def gather(sources: dict[Path, str], settings: Data) -> TrainingSet:
    """Collect the training videos of a split from the data sets that `locate` found. Raises
    TrainerError if a data set has none, or if a video is too short and the policy is `error`."""
    videos: list[Video] = []
    groups: dict[tuple[Path, str], int] = {}
    numbers, labels, counts, split = [], [], {}, settings.split
    classes: dict[tuple[Path, str], int] = {}
    for folder, source in sources.items():
        dataset = ShardDataset(folder)
        training = dataset.subset(split, "train")
        if not training:
            raise TrainerUsageError(
                f"{shown(source)} has no training videos in split {split}; its splits are "
                f"{describe_splits(dataset) or 'none'}. {_instead(dataset)}"
            )
        numbers += [groups.setdefault((folder, v.group), len(groups)) for v in training]
        labels += [
            -1 if v.class_name is None else classes.setdefault((folder, v.class_name), len(classes))
            for v in training
        ]
        videos.extend(training)
        counts[shown(source)] = {"training_videos": len(training), **dataset.counts}
    timings = timings_of(videos, settings.fps)
    short = count_short(timings, settings.frames, max(settings.strides))
    if short and settings.short_videos == "error":
        raise TrainerError(
            f"{short} of {len(videos)} training videos are too short for {settings.frames} frames "
            f"at stride {max(settings.strides)}, and data.short_videos is 'error'. Allow it with "
            "--set data.short_videos=loop (or repeat_last), or take shorter clips."
        )
    return TrainingSet(
        tuple(videos), timings, tuple(numbers), tuple(labels), dict(sources), counts, short
    )


def _instead(dataset: ShardDataset) -> str:
    """What to do if a split of a data set has no training videos."""
    if others := [s for s, parts in sorted(dataset.splits().items()) if "train" in parts]:
        return f"Choose one with --set data.split={others[0]}."
    if not dataset.videos:
        return f"It has no videos at all: `ascnet info {dataset.folder}` says why."
    return "Build it with a splits.csv that has training videos, or without one."


def describe_splits(dataset: ShardDataset) -> str:
    """ "1 (test, train), 2 (train)"."""
    return ", ".join(f"{s} ({', '.join(sorted(p))})" for s, p in sorted(dataset.splits().items()))
