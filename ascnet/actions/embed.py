"""Implementation of `ascnet embed`."""

import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import click
import torch

from ascnet import embedding, growing
from ascnet.built_in import NOTE, is_built_in
from ascnet.datasets import datasets_at, where
from ascnet.encoders import EncoderChoice, newest_store, protocol_in, subject_of
from ascnet.growth import growth_to
from ascnet.options import gathered
from ascnet.progress import ProgressBar
from ascnet.said_once import say_on
from ascnet.source_files import begin_sources, sources_of
from ascnet.store_videos import (
    Stored,
    Wanted,
    are_others,
    is_one_folder,
    read_again,
    stored_videos,
    with_more,
    without,
)
from builder.atomic import only_writer
from builder.build.records import is_finished
from builder.command_line import quoted
from builder.counted import counted
from builder.printable import printable
from builder.shards.dataset import ShardDataset
from evaluate.encoders import Subject, Subjects
from evaluate.errors import EvaluateUsageError
from evaluate.features.earlier import Earlier
from evaluate.features.extract import Extraction
from evaluate.features.store import Features, must_be_free, must_be_of
from evaluate.protocol import Protocol, protocol_of
from trainer.agreement import on_first
from trainer.data.frame_size import enlarged
from trainer.distributed import together


@dataclass(frozen=True)
class Cut:
    """How clips are taken from videos.

    Attributes:
        every: seconds between clips; None: not given
        mirrored: average features over mirror images
        turned: average features over quarter turns
        shots: keep every clip within one shot
    """

    every: float | None
    mirrored: bool
    turned: bool
    shots: bool


@dataclass(frozen=True)
class Target:
    """The store to write.

    Attributes:
        out: path; None: in the run, named after the data set; with `add` or `remove`, the newest
            store of the run
        overwrite: replace a store of other clips or weights
        add: add the named videos to the store
        remove: remove the named videos from it
    """

    out: Path | None
    overwrite: bool
    add: bool
    remove: bool

    @property
    def is_changed(self) -> bool:
        return self.add or self.remove


@gathered(encoder=EncoderChoice, cut=Cut, target=Target)
def run(
    videos: tuple[Path, ...],
    shards: str | None,
    encoder: EncoderChoice,
    cut: Cut,
    target: Target,
    device: torch.device,
) -> None:
    """Run the command; its help explains the options."""
    _check(videos, shards, target)
    if shards and cut.shots:
        raise click.UsageError(
            "--shots is for videos that are decoded now; clips of --shards follow the cuts found "
            "when they were built (`ascnet build --shots`)."
        )
    with (
        tempfile.TemporaryDirectory() as scratch,
        together(str(device)) as (rank, rank_device),
        ExitStack() as held,  # holds the lock of a store that is changed
    ):
        say = say_on(rank.number)
        encoder = on_first(lambda: encoder.or_default(target.out if target.is_changed else None))
        if is_built_in(encoder.weights):
            say(NOTE)
        if target.is_changed:
            store = on_first(lambda: target.out or newest_store(encoder))
            subjects, subject, protocol = _as_stored(Features(store), encoder, cut)
        else:
            subjects = encoder.subjects()
            every = 1.0 if cut.every is None else cut.every
            clips = protocol_of(subjects.settings)
            protocol = replace(clips, every=every, mirrored=cut.mirrored, turned=cut.turned)
            subject = subjects.trained
        make = partial(Extraction, subject, protocol, device=rank_device, alone=True)
        earlier = None
        with (
            ProgressBar("building", "videos") as building,
            ProgressBar("features", "videos") as encoding,
        ):
            told = embedding.Listener(building, encoding, say)
            if shards is None:
                if not target.is_changed:
                    name = on_first(lambda: embedding.catalog_of(videos).dataset)
                    name += "-shots" * cut.shots
                    store = target.out or _default_store(subjects, name, protocol)
                built = subjects.record.get("shards", ())
                job = _Job(store, videos, target, protocol, make, built, cut.shots)
                folder, earlier = on_first(lambda: _built(job, told, held))
                dataset = ShardDataset(folder)
            else:
                dataset = _only_one(shards, Path(scratch))
                store = target.out or _default_store(subjects, dataset.name, protocol)
            if small := enlarged(dataset.videos, protocol.size, protocol.short_side):
                say(small)
            extraction = make(dataset=dataset, earlier=earlier)
            embedding.fill(extraction, store, told, overwrite=target.overwrite)
            if earlier:
                on_first(lambda: growing.take_place(store))
        say(on_first(lambda: _end_text(Features(store), protocol, encoder)))


def _check(videos: tuple[Path, ...], shards: str | None, target: Target) -> None:
    """Raise UsageError for options that cannot be combined."""
    if target.add and target.remove:
        raise click.UsageError("--add and --remove cannot be combined: run one after the other.")
    if target.is_changed and (shards or not videos):
        raise click.UsageError(
            "--add takes videos or folders of videos, and --remove names of videos. For a store "
            "made with --shards, build the data set again instead."
        )
    if target.is_changed and target.overwrite:
        raise click.UsageError(
            "--overwrite replaces a store, but --add and --remove keep its content: omit one of "
            "them."
        )
    if bool(videos) == bool(shards):
        raise click.UsageError("Name either videos or folders of videos, or --shards.")
    if target.out is not None and target.out.suffix != ".h5":
        raise click.UsageError(
            f"--out is {str(target.out)!r}; stores are HDF5, so end the name in .h5."
        )


_WITH = {True: "with", False: "without"}


def _as_stored(
    store: Features, encoder: EncoderChoice, cut: Cut
) -> tuple[Subjects, Subject, Protocol]:
    """The encoder and the protocol of a store. Raises EvaluateError, with the difference, if others
    are requested."""
    if encoder.weights is not None and encoder.recipe is None:
        encoder = replace(encoder, recipe=str(store.attributes["recipe"]))
    subjects, protocol = encoder.subjects(), protocol_in(store)
    subject = subject_of(store, subjects, " ".join(map(str, encoder.named.values())))
    is_other = cut.mirrored > protocol.mirrored or cut.turned > protocol.turned
    if cut.every not in (None, protocol.every) or is_other:
        how = f"every {protocol.every:g} s" if protocol.every else "evenly spaced (--every 0)"
        also = {"mirror images": protocol.mirrored, "quarter turns": protocol.turned}
        raise EvaluateUsageError(
            f"The clips of {printable(str(store.path))} are {how}, "
            f"{', '.join(f'{_WITH[has]} {what}' for what, has in also.items())}, and those of "
            "other videos must match: omit --every, --mirrored and --turned."
        )
    return subjects, subject, protocol


@dataclass(frozen=True)
class _Job:
    """The videos to embed, and their store.

    Attributes:
        videos: paths, or names to remove
        make: makes the extraction for a data set
        built: data sets that the network was trained on
        shots: whether to find cuts
    """

    store: Path
    videos: Sequence[Path]
    target: Target
    protocol: Protocol
    make: Callable[[ShardDataset], Extraction]
    built: Sequence[str]
    shots: bool


def _built(job: _Job, told: embedding.Listener, held: ExitStack) -> tuple[Path, Earlier | None]:
    """Build the shards beside the store. Returns their folder and, if the store exists with other
    videos, that store. The lock is added to `held`."""
    store, overwrite = job.store, job.target.overwrite
    growing.settle(store)
    shards = growing.shards_of(store)
    if is_finished(shards) and not overwrite:
        held.enter_context(only_writer(shards))
        return _grown(job, stored_videos(store, shards), told)
    if job.target.is_changed:
        raise growing.has_no_shards(store)
    folder, catalog = embedding.shards_beside(store, embedding.catalog_of(job.videos))
    if overwrite:  # frames are replaced only if the store can be
        must_be_free(store)
        growing.drop_growing(store, told.videos)
    begin_sources(folder, sources_of(catalog, is_folder=is_one_folder(job.videos)))
    frames = replace(embedding.frame_settings(job.built, job.protocol), shots=job.shots)
    dataset = embedding.build_shards(catalog, folder, frames, told, overwrite=overwrite)
    return dataset.folder, None


def _grown(job: _Job, stored: Stored, told: embedding.Listener) -> tuple[Path, Earlier | None]:
    """Like `_built` if there are shards: they are kept if they are of exactly these files."""
    folder, store = stored.dataset.folder, job.store
    if job.target.is_changed or store.is_file():
        must_be_of(store, job.make(stored.dataset).identity)
    wanted = _wanted(job, stored)
    growth = growth_to(wanted, stored.samples, stored.sources.files)
    frames = embedding.frame_settings([folder, *job.built], job.protocol)
    if not job.target.is_changed or job.shots:  # otherwise as for the stored videos
        frames = replace(frames, shots=job.shots)
    is_other = growing.has_other_videos(stored, growth, frames)
    is_moved = wanted.sources.root != stored.sources.root
    least = (len(stored.samples) + 1) // 2 if is_moved else 1  # videos that must be the same
    if is_other and growth.shared < least and not job.target.is_changed:
        raise are_others(stored, wanted.sources)
    told.videos(f"{printable(str(store))}: {growth.sentence()}")
    if is_other:
        return growing.grow_shards(stored, growth, frames, told)
    growing.drop_growing(store, told.videos)
    if growth.sources != stored.sources:  # the same files with new modification times
        growth.sources.write(folder)
    return folder, None


def _wanted(job: _Job, stored: Stored) -> Wanted:
    """The videos that the store shall have."""
    if job.target.add:
        return with_more(stored, job.videos)
    if job.target.remove:
        return without(stored, [str(name) for name in job.videos])
    _, catalog = embedding.shards_beside(job.store, embedding.catalog_of(job.videos))
    return read_again(stored, catalog, is_folder=is_one_folder(job.videos))


def _end_text(features: Features, protocol: Protocol, encoder: EncoderChoice) -> str:
    clips = (
        f"a clip about every {protocol.every:g} s" if protocol.every else f"{protocol.clips} each"
    )
    # `ascnet search` finds the run that contains the store.
    named = {key: value for key, value in encoder.named.items() if key != "--run"}
    more = {"--backbone": encoder.backbone, "--recipe": encoder.recipe}
    named |= {key: value for key, value in more.items() if value is not None}
    others = "".join(f" {option} {quoted(value)}" for option, value in named.items())
    return (
        f"{printable(str(features.path))}: {counted(len(features.names), 'video')}, "
        f"{counted(len(features.clip_video), 'clip')} ({clips}), {features.features.shape[1]} "
        f"features per clip\n  ascnet search QUERY.mp4 --store {quoted(features.path)}{others}"
    )


def _only_one(shards: str, scratch: Path) -> ShardDataset:
    datasets = datasets_at(shards, scratch)
    if len(datasets) > 1:
        raise click.UsageError(
            f"{shards} has {len(datasets)} data sets; name one of them: "
            f"{', '.join(map(where, datasets))}."
        )
    return datasets[0]


def _default_store(subjects: Subjects, name: str, protocol: Protocol) -> Path:
    how = f"{protocol.every:g}s" if protocol.every else f"{protocol.clips}clips"
    how += "-mirrored" * protocol.mirrored + "-turned" * protocol.turned
    return subjects.folder / "features" / f"{name}-{how}.h5"
