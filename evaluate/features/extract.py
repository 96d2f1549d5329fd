"""An encoder and shards to a feature store: the same clips of every video, on every call."""

import json
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import torch

from builder.atomic import only_writer
from builder.progress import Progress, silent
from builder.shards.dataset import ShardDataset, Video
from evaluate.disk_errors import UnavailableError
from evaluate.encoders import Subject
from evaluate.errors import EvaluateError
from evaluate.features.encode import UNIT, Pooled, encode, to_device
from evaluate.features.store import Features, StoreIdentity, is_complete, unfinished
from evaluate.features.store_writer import Origin, StoreWriter
from evaluate.protocol import Protocol, clips_of
from trainer.agreement import on_first
from trainer.config.settings import Device
from trainer.data.clip_sampler import ClipRequest
from trainer.execution import backends
from trainer.run.provenance import code, computed_on, fingerprint


@dataclass(frozen=True)
class Extraction:
    """Which features of which videos, and how they are computed.

    Attributes:
        workers: decoding threads; 0: the cores that this process may use
    """

    subject: Subject
    protocol: Protocol
    dataset: ShardDataset
    device: torch.device
    workers: int = 0

    @cached_property
    def identity(self) -> StoreIdentity:
        """Everything that decides the features; attributes of the store."""
        return {
            **self.subject.facts,
            **asdict(self.protocol),
            "dataset": self.dataset.name,
            "dataset_sha256": fingerprint(self.dataset.folder),
            "dataset_counts": json.dumps(self.dataset.counts, sort_keys=True),
            "precision": "fp32",
        }


def extract(
    path: Path, extraction: Extraction, progress: Progress = silent, *, overwrite: bool = False
) -> bool:
    """Fill the store at `path` with features of all videos, or go on with one begun earlier, here
    or on another kind of device: the store says which took part.

    False if a store with exactly this identity was there already, and nothing had to be done.
    Raises EvaluateError if there is no video, if one is too short for the policy `error`, or if
    the store that is there is damaged or made otherwise (`overwrite`: then it is begun anew),
    UnavailableError if that store is in use (with `overwrite`, too), and BuilderError if another
    process is writing to the folder.
    """
    return on_first(lambda: _extract_alone(path, extraction, progress, overwrite))


def _extract_alone(path: Path, extraction: Extraction, progress: Progress, overwrite: bool) -> bool:
    identity, device = extraction.identity, extraction.device
    if not overwrite and is_complete(path, identity):
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    # In float32, and without cuDNN's trials: they choose by the clock.
    with only_writer(path.parent), backends(Device(), device, benchmark=False):
        if overwrite:
            _drop(path, identity)
        if is_complete(path, identity):
            return False
        _extract(path, extraction, progress)
    return True


def _extract(path: Path, extraction: Extraction, progress: Progress) -> None:
    subject, protocol, device = extraction.subject, extraction.protocol, extraction.device
    videos = extraction.dataset.videos
    if not videos:
        dataset = extraction.dataset
        raise EvaluateError(f"{dataset.folder} holds no built video: {dataset.counts}.")
    clips = clips_of(videos, protocol)
    network = Pooled(subject.backbone, protocol.layer, protocol.pooling)
    to_device(network, device)
    spans = [[_span(clip, videos[clip.video]) for clip in of_video] for of_video in clips]
    origin = Origin(extraction.dataset.folder, code(), computed_on(device))
    channels = network.channels(protocol, device)
    store = StoreWriter(path, videos, spans, channels, extraction.identity, origin)
    try:
        done = {i for i in range(0, len(videos), UNIT) if store.done[i : i + UNIT].all()}
        for first, features in encode(
            network, videos, protocol, device, workers=extraction.workers, done=done
        ):
            store.write(first, min(UNIT, len(videos) - first), features.numpy())
            progress(int(store.done.sum()), len(videos), subject.name)
    finally:
        store.close()


def _drop(path: Path, identity: StoreIdentity) -> None:
    """Take away what is of another identity, or damaged. Raises UnavailableError, and takes nothing
    away, if that cannot be seen now."""
    useless = [path] * _is_of_no_use(path, identity, has_checksums=True)
    useless += [unfinished(path)] * _is_of_no_use(unfinished(path), identity, has_checksums=False)
    for file in useless:
        file.unlink()


def _is_of_no_use(file: Path, identity: StoreIdentity, *, has_checksums: bool) -> bool:
    try:
        if is_complete(file, identity) and has_checksums:
            _ = Features(file).clip_features
    except UnavailableError:
        raise
    except EvaluateError:
        return True
    return False


def _span(clip: ClipRequest, video: Video) -> tuple[int, int]:
    """First and last frame of a clip; a clip that starts over spans its whole video."""
    first, last = clip.frames[0], clip.frames[-1]
    if sorted(clip.frames) != list(clip.frames):
        return 0, video.frames - 1
    return first, last
