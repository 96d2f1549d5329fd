"""Any video files to a feature store: a catalog of them, shards beside the store, then features."""

import logging
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
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
from builder.errors import BuilderError
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
# Settings that frames, and the clips of them, are alike by.
_SAME = ("short_side", "jpeg_quality", "chroma", "fps", "shots")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Listener:
    """Whom to tell what is under way.

    Attributes:
        videos: how many were built, and which were not
    """

    building: Progress = silent
    features: Progress = silent
    videos: Callable[[str], None] = lambda text: None


def shards_beside(store: Path, catalog: Catalog) -> tuple[Path, Catalog]:
    """Where the shards of the videos of a store are kept, and the catalog under the store's name:
    other videos are then refused as such."""
    return store.with_suffix(".shards"), replace(catalog, dataset=_dataset_name(store.stem))


def catalog_of(paths: Sequence[Path]) -> Catalog:
    """The videos that `paths` (files and folders) name, each once.

    One folder alone is read as `ascnet build folder` reads it: the first folder level is the
    class; a `splits.csv` says the split, or there is none. Several paths are unlabelled; of folders
    all files with a video's ending are taken, of files any. Names are relative to the folder that
    holds all of them.

    Raises BuilderError if a path is not there, or if there is no video.
    """
    for path in paths:
        if not path.exists():
            raise BuilderError(f"There is no file or folder {printable(str(path))}.")
    if len(paths) == 1 and paths[0].is_dir():
        return folder_catalog(paths[0])
    real = [Path(os.path.normpath(path.absolute())) for path in paths]
    root = Path(os.path.commonpath([path if path.is_dir() else path.parent for path in real]))
    files = {file for path in real for file in _files(path)}
    if not files:
        raise BuilderError(
            f"No video in {', '.join(printable(str(path)) for path in paths)}: no file there has a "
            "name that ends as a video's does."
        )
    by_name = {file.relative_to(root).as_posix(): file for file in files}
    videos = [Source(name, by_name[name], None, name, {}) for name in sorted(by_name)]
    name = videos[0].path.stem if len(files) == 1 else root.name
    return Catalog(_dataset_name(name), root, tuple(videos), ())


def folder_catalog(root: Path) -> Catalog:
    """The videos of one folder, as `catalog_of` reads it."""
    catalog = folder_reader.read(root)
    table = root / "splits.csv"
    # A split that nobody asked for would be a made-up one.
    if not table.is_file() or not folder_reader.gives_split(table):
        unsplit = tuple(replace(video, splits={}) for video in catalog.videos)
        catalog = replace(catalog, videos=unsplit)
    return replace(catalog, dataset=_dataset_name(root.resolve().name))


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    names, _ = list_files(path)
    return [path / name for name in names if is_video(name)]


def _dataset_name(text: str) -> str:
    return re.sub(r"[^\w.-]+", "_", printable(text), flags=re.ASCII).strip("._-") or "videos"


def frame_settings(built: Sequence[str | Path], protocol: Protocol) -> FrameSettings:
    """For a new store: frames as in the first of the data sets `built` that is here (else the
    defaults), and large enough for the protocol's crops."""
    known = filter(None, (_settings_in(Path(source)) for source in built))
    settings = next(known, FrameSettings())
    needed = max(protocol.size, protocol.short_side)
    return replace(settings, short_side=max(settings.short_side, needed + needed % 2))


def _settings_in(folder: Path) -> FrameSettings | None:
    """How the frames of the data set in a folder were made; None if there is none."""
    if not (folder / DATASET_FILE).is_file():
        return None
    stored = ShardDataset(folder).manifest.settings
    return FrameSettings(**{name: stored[name] for name in _SAME if name in stored})


def query_settings(gallery: Features, protocol: Protocol) -> FrameSettings:
    """Frames exactly as the gallery's: even where a network's crop is larger than those are, a
    query of more pixels would be a sharper picture than any in the store. If the gallery's shards
    are gone, or built anew since, a warning says so and what is taken instead."""
    folder = gallery.shards
    known = _settings_in(folder) if folder else None
    if folder and known and fingerprint(folder) == gallery.attributes.get("dataset_sha256"):
        if (schema := ShardDataset(folder).manifest.schema) != SCHEMA:
            log.warning(
                "Warning: the shards of %s are of schema %s, and the query's are made in schema "
                "%s: where a file is not in BT.601, the query's colours are right and the store's "
                "are not. `ascnet embed --overwrite` builds both anew.",
                printable(str(gallery.path)),
                schema,
                SCHEMA,
            )
        return known
    settings = known or frame_settings([], protocol)
    log.warning(
        "Warning: the shards of %s %s, so how its frames were made is not known; the query's are "
        "made %s: short side %d pixels, quality %d, chroma %s, %s.",
        printable(str(gallery.path)),
        f"{_what_happened(gallery, known)} ({printable(str(gallery.shards or gallery.place))})",
        "as in the new ones" if known else "as by default",
        settings.short_side,
        settings.jpeg_quality,
        settings.chroma,
        f"{settings.fps:g} frames a second" if settings.fps else "every frame",
    )
    return settings


def _what_happened(gallery: Features, known: FrameSettings | None) -> str:
    if gallery.shards is None:
        return "are not here"
    return "were built anew" if known else "are gone"


def build_shards(
    catalog: Catalog,
    folder: Path,
    frames: FrameSettings,
    told: Listener,
    *,
    overwrite: bool = False,
    earlier: Mapping[int, EarlierSample] | None = None,
) -> ShardDataset:
    """The shards of a catalog, built into `folder` unless they are there. `overwrite`: failed
    videos are tried again, and shards of other videos or frames are replaced. `earlier`: by
    position, videos that are copied.

    Raises BuilderError if no video can be read, or as `build` does.
    """
    how = How(workers=usable_cores(), retry_failed=overwrite, earlier=earlier or {})
    settings = BuildSettings(frames)
    try:
        summary = build(catalog, folder, settings, how, told.building)
    except BuilderError:
        if not overwrite:
            raise
        how = replace(how, retry_failed=False, overwrite=True)
        summary = build(catalog, folder, settings, how, told.building)
    dataset = ShardDataset(folder)
    failed = _failed(dataset)
    if not dataset.counts["built"]:
        clear(folder, catalog.dataset)  # other videos may be built here
        raise BuilderError(f"None of the videos can be read: {failed}.")
    told.videos(_text(summary, failed))
    return dataset


def _failed(dataset: ShardDataset) -> str:
    """ "a.mp4 (not a video), b.mp4 (truncated)"; the first few."""
    rows = [row for row in dataset.rows() if row.status == FAILED]
    names = [f"{printable(row.name)} ({row.reason})" for row in rows[:_SHOWN]]
    more = [f"and {len(rows) - _SHOWN} more"] if len(rows) > _SHOWN else []
    return ", ".join(names + more)


def _text(summary: BuildSummary, failed: str) -> str:
    text = f"{printable(str(summary.folder))}: {summary.sentence()}"
    return f"{text}\n  not in it: {failed}" if failed else text


def check_rates(dataset: ShardDataset, protocol: Protocol) -> None:
    """Raises EvaluateError if clips are asked for by the second of videos without a frame rate."""
    unknown = [video.name for video in dataset.videos if not video.fps]
    place = without_password(dataset.source) or dataset.folder
    if unknown and protocol.every:
        raise EvaluateError(
            f"{len(unknown)} of {len(dataset.videos)} videos have no known frame rate, such as "
            f"{printable(unknown[0])}, and clips are asked for every {protocol.every:g} seconds. "
            f"Say --every 0 for {protocol.clips} evenly spaced clips of each video instead; with "
            f"--shards {quoted(place)} nothing is built again."
        )


def embed(
    extraction: Extraction, store: Path, told: Listener, *, overwrite: bool = False
) -> Features:
    """The features of all videos of a data set, from `store` if they are there, else written to it.

    Raises EvaluateError as `fill` does.
    """
    fill(extraction, store, told, overwrite=overwrite)
    return Features(store)


def fill(extraction: Extraction, store: Path, told: Listener, *, overwrite: bool = False) -> None:
    """Write the features of all videos of a data set to `store`, unless they are there.

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
    """The features of one video file, of the kind of the gallery's; shards and store go to
    `scratch`. If its frame rate is not known, its clips are evenly spaced.

    Raises BuilderError, in a sentence, if it cannot be read.
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
