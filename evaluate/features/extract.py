"""An encoder and shards to a feature store: the same clips of every video, on every call."""

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
    """Which features of which videos, and how they are computed.

    Attributes:
        workers: decoding threads; 0: the cores that this process may use
        alone: a video's features do not depend, to the last bit, on which others there are
        earlier: the store that the new one takes the place of, whatever its videos
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
        """Everything that decides the features; attributes of the store."""
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
    """Fill the store at `path` with features of all videos, or go on with one begun earlier, here
    or on another kind of device: the store says which took part.

    Ranks (trainer/distributed.py) compute a part each, and rank 0 alone reads and writes the store,
    with what the others tell it: so there is one file, which any number of processes goes on with,
    and it is what one process would have written. A kill costs what was computed since the last
    step. (A file for each rank would have to be merged, and none of them would say what is done.)

    Videos are read, and put together in units, in the order in which they lie in the shards. So
    shards that are streamed (`dataset.source`) are read once each, from start to end, and the
    features are the same as from those on a disk. Of an extraction that goes on, shards without a
    video that is lacking are not opened again, and others are read up to the last one.

    With `extraction.earlier`, what that store has is copied, the rest is computed, and the new
    store takes the path when it is complete.

    False if a store with exactly this identity was there already, and nothing had to be done.
    Raises, on all ranks, EvaluateError if there is no video, if one is too short for the policy
    `error`, if the ranks' networks or videos differ, or if the store that is there is damaged or
    made otherwise (`overwrite`: then it is begun anew), UnavailableError if that store is in use
    (with `overwrite`, too), and BuilderError if another process is writing to the folder.
    """
    identity, dataset = extraction.identity, extraction.dataset
    protocol, device = extraction.protocol, extraction.device
    opened: list[StoreWriter] = []  # on rank 0
    # In float32, and without cuDNN's trials: they choose by the clock.
    multiplying = backends(Device(), device, benchmark=False)
    with failing_together(), multiplying, ExitStack() as held:

        def begin() -> tuple[list[int], list[int]] | None:
            """The videos in the order in which they are read, and the first ones of units that the
            store lacks; None if it is complete."""
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
        if not units:  # all is there, or was copied
            return True
        if extraction.subject.complete is not None:
            extraction.subject.complete(device)
        network, videos = _network(extraction), [dataset.videos[i] for i in order]
        reading = Reading(extraction.workers, dataset.source, extraction.alone)
        of_units = encode_together(network, videos, protocol, device, reading, units)
        held.enter_context(closing(of_units))  # what is streamed holds a thread and a connection
        for first, features in of_units:
            for store in opened:
                store.write(order[first : first + UNIT], features.numpy())
                progress(int(store.done.sum()), len(store.done), extraction.subject.name)
    return True


def _open(path: Path, extraction: Extraction, machines: dict[str, str]) -> StoreWriter:
    """The store that is begun, or gone on with; `machines`: what it is computed on."""
    dataset, protocol = extraction.dataset, extraction.protocol
    videos = dataset.videos
    if not videos:
        where = shown(dataset.source) or dataset.folder
        raise EvaluateError(f"{where} holds no built video: {dataset.counts}.")
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
                f"Process {number} of {len(of_ranks)} would compute other features than process "
                f"0: {difference}. See to it that all machines have the same run and shards."
            )


def _machines(of_ranks: Sequence[Mapping[str, object]]) -> dict[str, str]:
    """What the ranks compute on, all of them."""
    machines: dict[str, str] = {}
    for said in of_ranks:
        machines = all_machines(machines, {key: str(said[key]) for key in COMPUTED_ON})
    return machines


def _drop(path: Path, identity: StoreIdentity, *, keep_finished: bool) -> None:
    """Take away what is of another identity, or damaged. Raises UnavailableError, and takes nothing
    away, if that cannot be seen now."""
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
    """First and last frame of a clip; a clip that starts over spans its whole shot, which is the
    video where no cuts are known."""
    first, last = clip.frames[0], clip.frames[-1]
    if sorted(clip.frames) != list(clip.frames):
        shot = bisect_right(video.cuts, first)
        bounds = [0, *video.cuts, video.frames]
        return bounds[shot], bounds[shot + 1] - 1
    return first, last
