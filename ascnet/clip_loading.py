"""Batches of clips for users' training scripts: implements `clip_batches` and `clip_dataset`."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import torch

from builder.shards.dataset import find_datasets
from trainer.data.clip_batches import ClipBatches, ClipSettings
from trainer.data.clip_dataset import ClipDataset
from trainer.data.training_set import TrainingSet, gather
from trainer.distributed import Rank
from trainer.errors import TrainerError, TrainerUsageError


def clip_batches(
    shards: Path, rank: tuple[int, int], device: "str | torch.device", settings: dict[str, Any]
) -> ClipBatches:
    """See ascnet.clip_batches. `rank` is (number of this rank, number of ranks)."""
    number, world = rank
    if not 0 <= number < world:
        raise TrainerError(f"rank is {number} of {world}; ranks are numbered from 0 to world - 1.")
    chosen = _chosen(settings)
    return ClipBatches(_videos(shards, chosen), chosen, Rank(number, world), torch.device(device))


def clip_dataset(shards: Path, settings: dict[str, Any]) -> ClipDataset:
    """See ascnet.clip_dataset."""
    chosen = _chosen(settings)
    return ClipDataset(_videos(shards, chosen), chosen)


def _chosen(settings: dict[str, Any]) -> ClipSettings:
    names = [setting.name for setting in fields(ClipSettings)]
    if unknown := sorted(set(settings) - set(names)):
        raise TrainerUsageError(
            f"There is no setting {', '.join(unknown)}; choose from {', '.join(names)}."
        )
    return ClipSettings(**settings)


def _videos(shards: Path, chosen: ClipSettings) -> TrainingSet:
    sources = {folder: str(folder.resolve()) for folder in find_datasets(shards)}
    return gather(sources, chosen.data)
