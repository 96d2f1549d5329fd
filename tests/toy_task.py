"""A classification task that takes seconds to learn: colour bars or a test pattern."""

from dataclasses import replace

import numpy as np
import torch

from builder.shards.dataset import ShardDataset
from evaluate.encoders import Subject
from evaluate.finetune.clips import LabelledVideos
from evaluate.finetune.finetune import FinetuneJob
from evaluate.finetune.settings import FinetuneSettings
from evaluate.protocol import Protocol
from trainer.backbones.all_backbones import make_backbone

CPU = torch.device("cpu")
PROTOCOL = Protocol(frames=4, stride=2, size=16, clips=2)
SETTINGS = FinetuneSettings(epochs=6.0, batch=4, lr=0.01, workers=1)
FACTS = {"encoder": "trained", "checkpoint_sha256": "a" * 64, "seed": 0}


def toy_task(dataset: ShardDataset) -> FinetuneJob:
    """A job that trains on the first clip of every group and tests on the second."""
    torch.manual_seed(0)
    first = [v for v in dataset.videos if "c01" in v.name]
    second = [v for v in dataset.videos if "c02" in v.name]
    subject = Subject("trained", make_backbone("r3d-tiny"), FACTS)
    return FinetuneJob(subject, part(first), part(second), 2, PROTOCOL, SETTINGS)


def part(videos) -> LabelledVideos:
    return LabelledVideos(videos, np.array([v.label for v in videos], np.int64))


def changed(task: FinetuneJob, **changes) -> FinetuneJob:
    """Copy a job with other settings."""
    return replace(task, settings=replace(task.settings, **changes))
