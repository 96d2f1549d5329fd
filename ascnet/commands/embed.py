"""`ascnet embed`."""

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import click
import torch

from ascnet import embedding
from ascnet.datasets import datasets_at, where
from ascnet.device import with_device
from ascnet.encoders import EncoderChoice
from ascnet.options import NumberRange, gathered, with_weights
from ascnet.progress import ProgressBar
from ascnet.said_once import say_on
from ascnet.text import counted
from builder.command_line import quoted
from builder.printable import printable
from builder.shards.dataset import ShardDataset
from evaluate.encoders import Subjects
from evaluate.features.extract import Extraction
from evaluate.features.store import Features, must_be_free
from evaluate.protocol import Protocol, protocol_of
from trainer.agreement import on_first
from trainer.data.frame_size import enlarged
from trainer.distributed import together


@dataclass(frozen=True)
class Cut:
    """How clips are cut out of videos."""

    every: float
    mirrored: bool
    turned: bool


@dataclass(frozen=True)
class Target:
    """The store that is written.

    Attributes:
        out: None: in the run, by the name of the data set
        overwrite: replace what is of other videos, clips or weights
    """

    out: Path | None
    overwrite: bool


@click.command("embed")
@click.argument("videos", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--shards",
    metavar="PLACE",
    help="A data set built already: a folder, or what is streamed (a URL, or 'pipe:COMMAND {}').",
)
@click.option(
    "--run",
    type=click.Path(path_type=Path),
    help="Run whose encoder to use.  [default: the newest in runs/]",
)
@with_weights
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Store to write.  [default: RUN/features/<name>-<seconds>s.h5]",
)
@click.option(
    "--every",
    type=NumberRange(min=0, max=1e6),
    default=1.0,
    show_default=True,
    help="Seconds between clips; 0: evenly spaced clips, 10 or what the recipe says.",
)
@click.option(
    "--mirrored",
    is_flag=True,
    help="Mean features over every clip and its mirror image, so that mirrored copies are alike.",
)
@click.option(
    "--turned",
    is_flag=True,
    help="Mean features over every clip and its quarter turns, so that turned copies are alike.",
)
@with_device
@click.option(
    "--overwrite", is_flag=True, help="Replace a store of other videos, clips or weights."
)
@gathered(encoder=EncoderChoice, cut=Cut, target=Target)
def command(
    videos: tuple[Path, ...],
    shards: str | None,
    encoder: EncoderChoice,
    cut: Cut,
    target: Target,
    device: torch.device,
) -> None:
    """Features of any VIDEOS, files or folders, to a store that can be searched.

    One folder is read as `ascnet build folder` reads it: its first level is the class. Frames are
    kept beside the store (STORE.shards), so that pages can show them. Videos that cannot be read
    are counted and left out. Killed, the same command goes on.

    On several GPUs: torchrun --nproc-per-node=8 --no-python -- ascnet embed VIDEOS
    """
    if bool(videos) == bool(shards):
        raise click.UsageError("Name videos or folders of videos, or else --shards.")
    out, overwrite = target.out, target.overwrite
    if out is not None and out.suffix != ".h5":
        raise click.UsageError(f"--out is {str(out)!r}; stores are HDF5, so end the name in .h5.")
    with (
        tempfile.TemporaryDirectory() as scratch,
        together(str(device)) as (rank, rank_device),
    ):
        say = say_on(rank.number)
        subjects = on_first(encoder.or_default).subjects()
        protocol = replace(protocol_of(subjects.settings), **asdict(cut))
        with (
            ProgressBar("building", "videos") as building,
            ProgressBar("features", "videos") as encoding,
        ):
            told = embedding.Listener(building, encoding, say)
            if shards is None:
                folder, store = on_first(
                    lambda: _built(videos, out, subjects, protocol, told, overwrite)
                )
                dataset = ShardDataset(folder)
            else:
                dataset = _only_one(shards, Path(scratch))
                store = out or _default_store(subjects, dataset.name, protocol)
            if small := enlarged(dataset.videos, protocol.size, protocol.short_side):
                say(small)
            extraction = Extraction(subjects.trained, protocol, dataset, rank_device)
            embedding.fill(extraction, store, told, overwrite=overwrite)
        say(on_first(lambda: _end_text(Features(store), protocol, encoder)))


def _built(
    videos: Sequence[Path],
    out: Path | None,
    subjects: Subjects,
    protocol: Protocol,
    told: embedding.Listener,
    overwrite: bool,
) -> tuple[Path, Path]:
    """The folder of the shards of some videos, built beside their store, and the store."""
    catalog = embedding.catalog_of(videos)
    store = out or _default_store(subjects, catalog.dataset, protocol)
    frames = embedding.frame_settings(subjects.record.get("shards", ()), protocol)
    folder, catalog = embedding.shards_beside(store, catalog)
    if overwrite:  # nor are the frames of a store replaced that cannot be
        must_be_free(store)
    dataset = embedding.build_shards(catalog, folder, frames, told, overwrite=overwrite)
    return dataset.folder, store


def _end_text(features: Features, protocol: Protocol, encoder: EncoderChoice) -> str:
    clips = (
        f"a clip about every {protocol.every:g} s" if protocol.every else f"{protocol.clips} each"
    )
    # A run is found by the store that lies in it.
    others = "".join(
        f" {option} {quoted(value)}" for option, value in encoder.named.items() if option != "--run"
    )
    return (
        f"{printable(str(features.path))}: {counted(len(features.names), 'video')}, "
        f"{counted(len(features.clip_video), 'clip')} ({clips}), "
        f"{features.features.shape[1]} features a clip\n"
        f"  ascnet search QUERY.mp4 --store {quoted(features.path)}{others}"
    )


def _only_one(shards: str, scratch: Path) -> ShardDataset:
    datasets = datasets_at(shards, scratch)
    if len(datasets) > 1:
        raise click.UsageError(
            f"{shards} holds {len(datasets)} data sets; name one of them: "
            f"{', '.join(map(where, datasets))}."
        )
    return datasets[0]


def _default_store(subjects: Subjects, name: str, protocol: Protocol) -> Path:
    how = f"{protocol.every:g}s" if protocol.every else f"{protocol.clips}clips"
    how += "-mirrored" * protocol.mirrored + "-turned" * protocol.turned
    return subjects.folder / "features" / f"{name}-{how}.h5"
