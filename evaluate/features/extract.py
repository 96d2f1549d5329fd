"""Extract the features of an encoder for all videos of a data set into a store."""

import json
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from builder.atomic import only_writer
from builder.progress import Progress, silent
from builder.shards.dataset import ShardDataset, Video
from builder.shards.manifest import fingerprint
from evaluate.disk_errors import UnavailableError
from evaluate.encoders import Subject
from evaluate.errors import EvaluateError
from evaluate.features.earlier import Earlier
from evaluate.features.encode import UNIT, Pooled, Reading, encode_together, to_device
from evaluate.features.store import Features, StoreIdentity, identity_in, is_complete, unfinished
from evaluate.features.store_writer import Origin, StoreWriter
from evaluate.identity_check import COMPUTED_ON, all_machines, first_difference
from evaluate.protocol import Protocol, clips_of
from trainer.agreement import all_say, failing_together, on_first
from trainer.config.settings import Device
from trainer.data.clip_sampler import ClipRequest
from trainer.data.streaming.in_order import storage_order
from trainer.data.streaming.transport import shown, without_password
from trainer.execution import backends
from trainer.run.provenance import code, computed_on


@dataclass(frozen=True)
class Extraction:
    """What to extract, and how.

    Attributes:
        workers: number of decoding threads; 0: number of available cores
        alone: make the features of a video independent of the other videos, to the last bit
        earlier: the store that the new one replaces, whatever its videos
    """

    subject: Subject
    protocol: Protocol
    dataset: ShardDataset
    device: torch.device
    workers: int = 0
    alone: bool = False
    earlier: Earlier | None = None

    @cached_property
    def identity(self) -> StoreIdentity:
        """Everything that determines the features; stored as attributes."""
        return {
            **self.subject.facts,
            **self.protocol.identity,
            "dataset": self.dataset.name,
            "dataset_sha256": fingerprint(self.dataset.folder),
            "dataset_counts": json.dumps(self.dataset.counts, sort_keys=True),
            "precision": "fp32",
        }


def extract(
    path: Path, extraction: Extraction, progress: Progress = silent, *, overwrite: bool = False
) -> bool:
    """Fill the store at `path` with the features of all videos, or continue one begun earlier. It
    may have been begun on another kind of device; the store lists all devices used.

    Ranks (trainer/distributed.py) compute a part each. Rank 0 alone reads and writes the store,
    which is the same as from one process, so any number of processes can continue it. A kill loses
    only what was computed since the last step.

    Videos are read and grouped into units in the order of the shards. So streamed shards
    (`dataset.source`) are read once, from start to end, and give the same features as local ones.
    When an extraction continues, shards whose videos are all done are not opened, and others are
    read up to the last video needed.

    With `extraction.earlier`, features of that store are copied where possible, and the new store
    replaces it when complete.

    Returns False if a complete store with this identity exists, so that there was nothing to do.
    Raises on all ranks: EvaluateError if there is no video, if one is too short for the policy
    `error`, if the ranks have different networks or videos, or if the existing store is damaged or
    was made differently (with `overwrite` it is replaced); UnavailableError if that store is in
    use, also with `overwrite`; BuilderError if another process writes to the folder.
    """
    identity, dataset = extraction.identity, extraction.dataset
    protocol, device = extraction.protocol, extraction.device
    opened: list[StoreWriter] = []  # on rank 0
    # In float32, and without cuDNN's benchmark mode, whose choices depend on timing.
    multiplying = backends(Device(), device, benchmark=False)
    with failing_together(), multiplying, ExitStack() as held:

        def begin() -> tuple[list[int], list[int]] | None:
            """The videos in reading order, and the starts of the units that the store lacks; None
            if it is complete."""
            earlier = extraction.earlier
            if not overwrite and not earlier and is_complete(path, identity):
                return None
            path.parent.mkdir(parents=True, exist_ok=True)
            held.enter_context(only_writer(path.parent))
            if overwrite or earlier:
                _drop(path, identity, keep_finished=earlier is not None)
            if not earlier and is_complete(path, identity):
                return None
            store = _open(path, extraction, machines)
            held.callback(store.close)
            opened.append(store)
            if earlier:
                earlier.copy_to(store)
            order = storage_order(dataset.videos)
            if extraction.alone:
                lacking = [video for video in order if not store.done[video]]
                return lacking, list(range(0, len(lacking), UNIT))
            firsts = range(0, len(order), UNIT)
            return order, [i for i in firsts if not store.done[order[i : i + UNIT]].all()]

        of_ranks = all_say({**identity, **computed_on(device)})
        _must_be_same(of_ranks)
        machines = _machines(of_ranks)
        if (begun := on_first(begin)) is None:
            return False
        order, units = begun
        if not units:  # all features were there or were copied
            return True
        if extraction.subject.complete is not None:
            extraction.subject.complete(device)
        network, videos = _network(extraction), [dataset.videos[i] for i in order]
        reading = Reading(extraction.workers, dataset.source, extraction.alone)
        of_units = encode_together(network, videos, protocol, device, reading, units)
        held.enter_context(closing(of_units))  # streams hold a thread and a connection
        for first, features in of_units:
            for store in opened:
                store.write(order[first : first + UNIT], features.numpy())
                progress(int(store.done.sum()), len(store.done), extraction.subject.name)
    return True


def _open(path: Path, extraction: Extraction, machines: dict[str, str]) -> StoreWriter:
    """Begin a store, or open an unfinished one. `machines` is what the ranks compute on."""
    dataset, protocol = extraction.dataset, extraction.protocol
    videos = dataset.videos
    if not videos:
        where = shown(dataset.source) or dataset.folder
        raise EvaluateError(f"{where} has no built video: {dataset.counts}.")
    clips = clips_of(videos, protocol)
    channels = _network(extraction).channels(protocol, extraction.device)
    spans = [[_span(clip, videos[clip.video]) for clip in of_video] for of_video in clips]
    where = without_password(dataset.source) or str(dataset.folder.resolve())
    if earlier := extraction.earlier:
        where = str(earlier.shards.resolve())
        if earlier.store is not None:
            machines = all_machines(identity_in(earlier.store), machines)
    origin = Origin(where, code(), machines)
    return StoreWriter(path, videos, spans, channels, extraction.identity, origin)


def _network(extraction: Extraction) -> Pooled:
    protocol = extraction.protocol
    network = Pooled(extraction.subject.backbone, protocol.layer, protocol.pooling)
    to_device(network, extraction.device)
    return network


def _must_be_same(of_ranks: Sequence[Mapping[str, object]]) -> None:
    for number, other in enumerate(of_ranks):
        if difference := first_difference(of_ranks[0], other):
            raise EvaluateError(
                f"Process {number} of {len(of_ranks)} would compute other features than process 0: "
                f"{difference}. Use the same run and shards on all machines."
            )


def _machines(of_ranks: Sequence[Mapping[str, object]]) -> dict[str, str]:
    """The devices and torch versions of all ranks."""
    machines: dict[str, str] = {}
    for said in of_ranks:
        machines = all_machines(machines, {key: str(said[key]) for key in COMPUTED_ON})
    return machines


def _drop(path: Path, identity: StoreIdentity, *, keep_finished: bool) -> None:
    """Delete stores that are damaged or have another identity. Raises UnavailableError, and deletes
    nothing, if this cannot be determined now."""
    useless = [unfinished(path)] * _is_of_no_use(unfinished(path), identity, has_checksums=False)
    if not keep_finished:
        useless += [path] * _is_of_no_use(path, identity, has_checksums=True)
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
    """First and last frame of a clip. For a clip that loops, those of its whole shot; without known
    cuts, a video is one shot."""
    first, last = clip.frames[0], clip.frames[-1]
    if sorted(clip.frames) != list(clip.frames):
        shot = bisect_right(video.cuts, first)
        bounds = [0, *video.cuts, video.frames]
        return bounds[shot], bounds[shot + 1] - 1
    return first, last
