"""Embed video files: list them in a catalog, build shards beside the store, then extract
features."""

import logging
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import torch

from builder.build.build import BuildSettings, BuildSummary, How, build
from builder.build.records import clear
from builder.build.reuse import EarlierSample
from builder.catalog import folder as folder_reader
from builder.catalog.files import list_files
from builder.catalog.source import Catalog, Source
from builder.command_line import quoted
from builder.cores import usable_cores
from builder.decode.frames import FrameSettings
from builder.errors import BuilderError, OtherBuildError
from builder.printable import printable
from builder.progress import Progress, silent
from builder.shards.dataset import ShardDataset
from builder.shards.manifest import DATASET_FILE, SCHEMA, fingerprint
from builder.shards.video_row import FAILED
from builder.video_name import is_video
from evaluate.encoders import Subject
from evaluate.errors import EvaluateError
from evaluate.features.extract import Extraction, extract
from evaluate.features.store import Features
from evaluate.protocol import Protocol
from trainer.agreement import failing_together
from trainer.data.streaming.transport import without_password

_SHOWN = 5  # failed videos in a message
# The settings that clips of frames must share to be comparable.
_SAME = ("short_side", "jpeg_quality", "chroma", "fps", "shots")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Listener:
    """Callbacks for progress and messages.

    Attributes:
        building: counts videos that are built
        features: counts videos whose features are computed
        videos: takes a line on how many videos were built, and which failed
    """

    building: Progress = silent
    features: Progress = silent
    videos: Callable[[str], None] = lambda text: None


def shards_beside(store: Path, catalog: Catalog) -> tuple[Path, Catalog]:
    """The folder of a store's shards, and the catalog named after the store, so that videos of
    another store are recognised."""
    return store.with_suffix(".shards"), replace(catalog, dataset=_dataset_name(store.stem))


def catalog_of(paths: Sequence[Path]) -> Catalog:
    """The videos at `paths` (files and folders), each once.

    A single folder is read as by `ascnet build folder`: the first folder level is the class, and a
    `splits.csv` defines the split, if any. Several paths are unlabelled; from folders, all files
    with a video suffix are taken, and named files whatever their suffix. Names are relative to the
    folder that contains all of them.

    Raises BuilderError if a path does not exist, or if there is no video.
    """
    for path in paths:
        if not path.exists():
            raise BuilderError(f"There is no file or folder {printable(str(path))}.")
    if len(paths) == 1 and paths[0].is_dir():
        return folder_catalog(paths[0])
    real = [Path(os.path.normpath(path.absolute())) for path in paths]
    root = Path(os.path.commonpath([path if path.is_dir() else path.parent for path in real]))
    files = {file for path in real for file in (videos_in(path) if path.is_dir() else [path])}
    if not files:
        raise BuilderError(
            f"No video in {', '.join(printable(str(path)) for path in paths)}: no file there has a "
            "video suffix."
        )
    by_name = {file.relative_to(root).as_posix(): file for file in files}
    videos = [Source(name, by_name[name], None, name, {}) for name in sorted(by_name)]
    name = videos[0].path.stem if len(files) == 1 else root.name
    return Catalog(_dataset_name(name), root, tuple(videos), ())


def folder_catalog(root: Path) -> Catalog:
    """The videos of one folder, read as in `catalog_of`."""
    catalog = folder_reader.read(root)
    table = root / "splits.csv"
    # Without a table, there is no split, rather than an automatic one.
    if not table.is_file() or not folder_reader.gives_split(table):
        unsplit = tuple(replace(video, splits={}) for video in catalog.videos)
        catalog = replace(catalog, videos=unsplit)
    return replace(catalog, dataset=_dataset_name(root.resolve().name))


def videos_in(folder: Path) -> list[Path]:
    """The files with a video suffix below a folder; none if it does not exist."""
    names = list_files(folder)[0] if folder.is_dir() else []
    return [folder / name for name in names if is_video(name)]


def _dataset_name(text: str) -> str:
    """The name in ASCII. If letters are lost, it ends in a hash, so that names stay different."""
    name = re.sub(r"[^\w.-]+", "_", printable(text), flags=re.ASCII).strip("._-")
    if re.search(r"[^\W\x00-\x7f]", text):
        digest = sha256(os.fsencode(text)).hexdigest()[:6]
        return f"{name or 'videos'}-{digest}"
    return name or "videos"


def frame_settings(built: Sequence[str | Path], protocol: Protocol) -> FrameSettings:
    """Frame settings for a new store: those of the first existing data set of `built` (or the
    defaults), with frames large enough for the protocol's crops."""
    known = filter(None, (_settings_in(Path(source)) for source in built))
    settings = next(known, FrameSettings())
    needed = max(protocol.size, protocol.short_side)
    return replace(settings, short_side=max(settings.short_side, needed + needed % 2))


def _settings_in(folder: Path) -> FrameSettings | None:
    """The frame settings of the data set in a folder; None if there is none."""
    if not (folder / DATASET_FILE).is_file():
        return None
    stored = ShardDataset(folder).manifest.settings
    return FrameSettings(**{name: stored[name] for name in _SAME if name in stored})


def query_settings(gallery: Features, protocol: Protocol) -> FrameSettings:
    """The frame settings of the gallery's frames. They are also used if a network's crop is larger
    than the frames, as a query with more pixels would be sharper than everything in the store. If
    the gallery's shards are missing or were rebuilt, a warning says so, and which settings are used
    instead."""
    folder = gallery.shards
    known = _settings_in(folder) if folder else None
    if folder and known and fingerprint(folder) == gallery.attributes.get("dataset_sha256"):
        if (schema := ShardDataset(folder).manifest.schema) != SCHEMA:
            log.warning(
                "Warning: the shards of %s have schema %s, and the query's have schema %s: for "
                "files that are not in BT.601, the colours of the query are correct, and those of "
                "the store are not. `ascnet embed --overwrite` rebuilds both.",
                printable(str(gallery.path)),
                schema,
                SCHEMA,
            )
        return known
    settings = known or frame_settings([], protocol)
    log.warning(
        "Warning: the shards of %s %s, so the settings of its frames are unknown; the query's are "
        "made %s: short side %d pixels, quality %d, chroma %s, %s.",
        printable(str(gallery.path)),
        f"{_what_happened(gallery, known)} ({printable(str(gallery.shards or gallery.place))})",
        "with those of the new shards" if known else "with the defaults",
        settings.short_side,
        settings.jpeg_quality,
        settings.chroma,
        f"{settings.fps:g} frames per second" if settings.fps else "every frame",
    )
    return settings


def _what_happened(gallery: Features, known: FrameSettings | None) -> str:
    if gallery.shards is None:
        return "are remote"
    return "were rebuilt" if known else "are missing"


def build_shards(
    catalog: Catalog,
    folder: Path,
    frames: FrameSettings,
    told: Listener,
    *,
    overwrite: bool = False,
    earlier: Mapping[int, EarlierSample] | None = None,
) -> ShardDataset:
    """Build the shards of a catalog into `folder`, unless they exist. With `overwrite`, failed
    videos are retried, and shards of other videos or frames are replaced. `earlier` has videos to
    copy, by position.

    Raises BuilderError if no video can be read, or as `build` does.
    """
    how = How(workers=usable_cores(), retry_failed=overwrite, earlier=earlier or {})
    settings = BuildSettings(frames)
    try:
        summary = build(catalog, folder, settings, how, told.building)
    except OtherBuildError:
        if not overwrite:
            raise
        how = replace(how, retry_failed=False, overwrite=True)
        summary = build(catalog, folder, settings, how, told.building)
    dataset = ShardDataset(folder)
    failed = _failed(dataset)
    if not dataset.counts["built"]:
        clear(folder, catalog.dataset)  # so that other videos can be built here
        raise BuilderError(f"None of the videos can be read: {failed}.")
    told.videos(_text(summary, failed))
    return dataset


def _failed(dataset: ShardDataset) -> str:
    """The first few failed videos, such as "a.mp4 (not a video), b.mp4 (truncated)"."""
    rows = [row for row in dataset.rows() if row.status == FAILED]
    names = [f"{printable(row.name)} ({row.reason})" for row in rows[:_SHOWN]]
    more = [f"and {len(rows) - _SHOWN} more"] if len(rows) > _SHOWN else []
    return ", ".join(names + more)


def _text(summary: BuildSummary, failed: str) -> str:
    text = f"{printable(str(summary.folder))}: {summary.sentence()}"
    return f"{text}\n  failed: {failed}" if failed else text


def check_rates(dataset: ShardDataset, protocol: Protocol) -> None:
    """Raise EvaluateError if clips are requested by seconds, but videos have no frame rate."""
    unknown = [video.name for video in dataset.videos if not video.fps]
    place = without_password(dataset.source) or dataset.folder
    if unknown and protocol.every:
        raise EvaluateError(
            f"{len(unknown)} of {len(dataset.videos)} videos have no known frame rate, such as "
            f"{printable(unknown[0])}, which clips every {protocol.every:g} seconds require. Pass "
            f"--every 0 for {protocol.clips} evenly spaced clips of each video instead; with "
            f"--shards {quoted(place)}, nothing is built again."
        )


def embed(
    extraction: Extraction, store: Path, told: Listener, *, overwrite: bool = False
) -> Features:
    """The features of all videos of a data set, from `store` if it is complete, otherwise extracted
    into it.

    Raises EvaluateError as `fill` does.
    """
    fill(extraction, store, told, overwrite=overwrite)
    return Features(store)


def fill(extraction: Extraction, store: Path, told: Listener, *, overwrite: bool = False) -> None:
    """Extract the features of all videos of a data set into `store`, unless it is complete.

    Raises EvaluateError as `extract` does, or if the protocol does not fit the videos.
    """
    with failing_together():
        check_rates(extraction.dataset, extraction.protocol)
    extract(store, extraction, told.features, overwrite=overwrite)


def query_features(
    query: Path,
    gallery: Features,
    subject: Subject,
    protocol: Protocol,
    device: torch.device,
    scratch: Path,
) -> Features:
    """The features of one video file, made like those of the gallery; shards and store are written
    to `scratch`. If the frame rate is unknown, its clips are evenly spaced.

    Raises BuilderError if the file cannot be read.
    """
    if query.is_dir():
        raise EvaluateError(
            f"{printable(str(query))} is a folder. Name one video file to search with."
        )
    frames = query_settings(gallery, protocol)
    dataset = build_shards(catalog_of([query]), scratch / "shards", frames, Listener())
    if protocol.every and not dataset.videos[0].fps:
        protocol = replace(protocol, every=0.0)
    extraction = Extraction(subject, protocol, dataset, device, alone=True)
    return embed(extraction, scratch / "query.h5", Listener())
