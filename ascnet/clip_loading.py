"""Batches of clips for training scripts of others: what `clip_batches` returns."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import torch

from builder.shards.dataset import find_datasets
from trainer.data.clip_batches import ClipBatches, ClipSettings
from trainer.data.training_set import gather
from trainer.distributed import Rank
from trainer.errors import TrainerError


def clip_batches(
    shards: Path, rank: tuple[int, int], device: "str | torch.device", settings: dict[str, Any]
) -> ClipBatches:
    """See ascnet.clip_batches. `rank`: its number, and how many there are."""
    names = [setting.name for setting in fields(ClipSettings)]
    if unknown := sorted(set(settings) - set(names)):
        raise TrainerError(
            f"clip_batches has no setting {', '.join(unknown)}; it has rank, world, device, "
            f"{', '.join(names)}."
        )
    number, world = rank
    if not 0 <= number < world:
        raise TrainerError(f"rank is {number} of {world}; ranks count from 0 to world - 1.")
    chosen = ClipSettings(**settings)
    sources = {folder: str(folder.resolve()) for folder in find_datasets(shards)}
    return ClipBatches(
        gather(sources, chosen.data), chosen, Rank(number, world), torch.device(device)
    )
