"""Checkpoint and shards to a feature store: the same clips of every video, on every call."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from builder.atomic import only_writer
from builder.shard import ShardDataset, Video
from evaluate.errors import EvaluateError
from evaluate.store import FeatureStore, Identity, is_complete
from trainer.augment import centre_crop
from trainer.backbones.base import Backbone
from trainer.checkpoint import TrainedBackbone
from trainer.clips import ClipReader, read_batches
from trainer.config import Config
from trainer.pretrain import make_model
from trainer.provenance import fingerprint
from trainer.requests import count_short, even_requests, stride_rates

Progress = Callable[[int, int, str], None]  # done, total, what is being done

_VIDEOS_A_BATCH = 8  # fixed, so that a resumed extraction computes the same numbers
TRAINED, UNTRAINED = "trained", "untrained"


@dataclass(frozen=True)
class Subject:
    """An encoder under test."""

    name: str  # TRAINED or UNTRAINED
    backbone: Backbone
    checkpoint: str  # sha256 of the checkpoint, or "none"
    step: int


def subjects(trained: TrainedBackbone) -> tuple[Subject, Subject]:
    """The trained backbone, and the one that its training began with."""
    untrained = make_model(trained.config).encoder.backbone
    return (
        Subject(TRAINED, trained.backbone, trained.sha256, trained.step),
        Subject(UNTRAINED, untrained, "none", 0),
    )


def identity_of(
    subject: Subject, settings: Config, dataset: ShardDataset, device: torch.device
) -> Identity:
    """Everything that decides the features; attributes of the store."""
    return {
        "encoder": subject.name,
        "checkpoint_sha256": subject.checkpoint,
        "step": subject.step,
        "recipe": settings.recipe,
        "seed": settings.seed,
        "backbone": settings.model.backbone,
        "clips": settings.evaluate.clips,
        "frames": settings.data.frames,
        "stride": settings.evaluate.stride,
        "fps": settings.data.fps,
        "size": settings.data.size,
        "short_side": settings.data.short_side,
        "short_videos": settings.data.short_videos,
        "crop": "centre",
        "layer": "last convolutional map, average-pooled",
        "pooling": "mean over clips",
        "dataset": dataset.name,
        "dataset_sha256": fingerprint(dataset.folder),
        "dataset_counts": json.dumps(dataset.counts, sort_keys=True),
        "torch": str(torch.__version__),
        "device": device.type,
    }


def extract(
    path: Path,
    subject: Subject,
    settings: Config,
    dataset: ShardDataset,
    device: torch.device,
    progress: Progress = lambda done, total, text: None,
) -> bool:
    """Fill the store at `path` with features of all videos, or go on with one begun earlier.

    False if a store with exactly this identity was there already, and nothing had to be done.
    Raises EvaluateError if there is no video, or one too short for the policy `error`, and
    BuilderError if another process is writing to the folder.
    """
    identity = identity_of(subject, settings, dataset, device)
    if is_complete(path, identity):
        return False
    videos = dataset.videos
    if not videos:
        raise EvaluateError(f"{dataset.folder} holds no built video: {dataset.counts}.")
    frames, stride = settings.data.frames, settings.evaluate.stride
    rates = stride_rates(videos, settings.data.fps)
    short = count_short([video.frames for video in videos], rates, frames, (stride,))
    if short and settings.data.short_videos == "error":
        raise EvaluateError(
            f"{short} of {len(videos)} videos of {dataset.folder} are too short for {frames} "
            f"frames at stride {stride}, and the run's policy data.short_videos is 'error'."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    with only_writer(path.parent):
        store = FeatureStore(path, videos, subject.backbone.channels, identity)
        try:
            _fill(store, subject, settings, videos, device, progress)
        finally:
            store.close()
    return True


def _fill(
    store: FeatureStore,
    subject: Subject,
    settings: Config,
    videos: Sequence[Video],
    device: torch.device,
    progress: Progress,
) -> None:
    """Compute and write what is not in the store yet."""
    starts = range(0, len(videos), _VIDEOS_A_BATCH)
    rates = stride_rates(videos, settings.data.fps)
    todo = [i for i in starts if not store.done[i : i + _VIDEOS_A_BATCH].all()]
    requests = (
        [
            request
            for v in range(first, min(first + _VIDEOS_A_BATCH, len(videos)))
            for request in even_requests(
                v,
                videos[v].frames,
                rates[v],
                clips=settings.evaluate.clips,
                clip_length=settings.data.frames,
                stride=settings.evaluate.stride,
                policy=settings.data.short_videos,
            )
        ]
        for first in todo
    )
    backbone = subject.backbone.to(device).eval()
    backbone.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    reader = ClipReader(videos, settings.data.short_side)
    batches = read_batches(reader, requests, settings.data.workers)
    with torch.inference_mode():
        for first, batch in zip(todo, batches, strict=True):
            clips = centre_crop(batch.frames.to(device), batch.sizes.to(device), settings.data.size)
            clips = clips.contiguous(memory_format=torch.channels_last_3d)
            of_clips = backbone(clips).mean(dim=(2, 3, 4))
            of_videos = of_clips.unflatten(0, (-1, settings.evaluate.clips)).mean(dim=1)
            store.write(first, of_videos.float().cpu().numpy())
            progress(int(store.done.sum()), len(videos), subject.name)
