"""The present and the wanted videos of a store: read again, with more, or without some."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from pathlib import Path

from ascnet.embedding import catalog_of, folder_catalog, videos_in
from ascnet.source_files import (
    SourceFile,
    SourceFiles,
    absolute,
    read_sources,
    sha256_of,
    sources_of,
)
from builder.build.reuse import EarlierSample, earlier_samples
from builder.catalog.source import Catalog, Source, in_order
from builder.command_line import quoted
from builder.counted import counted
from builder.errors import BuilderError, BuilderUsageError
from builder.printable import printable
from builder.shards.dataset import ShardDataset
from builder.shards.video_row import BUILT, IGNORED

_NEAR = 3  # names that a message suggests


@dataclass(frozen=True)
class Stored:
    """The videos in the shards of a store.

    Attributes:
        sources: their files, as far as they are known
        samples: by name
    """

    store: Path
    dataset: ShardDataset
    sources: SourceFiles
    samples: Mapping[str, EarlierSample]

    @property
    def videos(self) -> dict[str, Source]:
        """The videos, as in the catalog that they were built from."""
        files = self.sources.files
        return {
            name: Source(
                name,
                Path(files[name].path if name in files else name),
                sample.row.class_name,
                sample.row.group,
                sample.row.splits,
                sample.row.factors,
            )
            for name, sample in self.samples.items()
        }

    @property
    def left_alone(self) -> list[tuple[str, str]]:
        rows = self.dataset.rows()
        return [(row.name, str(row.reason)) for row in rows if row.status == IGNORED]


@dataclass(frozen=True)
class Wanted:
    """The videos that a store shall have.

    Attributes:
        sources: their files, as far as they are known
        kept: names of videos in the store whose files need no check
    """

    catalog: Catalog
    sources: SourceFiles
    kept: AbstractSet[str] = field(default_factory=frozenset)


def is_one_folder(paths: Sequence[Path]) -> bool:
    """Whether the paths are one folder, which is read as by `ascnet build folder`."""
    return len(paths) == 1 and paths[0].is_dir()


def stored_videos(store: Path, folder: Path) -> Stored:
    """The videos in a folder of finished shards."""
    dataset = ShardDataset(folder)
    sources = read_sources(folder) or SourceFiles("", False, {})
    return Stored(store, dataset, sources, earlier_samples(dataset))


def read_again(stored: Stored, catalog: Catalog, *, is_folder: bool) -> Wanted:
    """The videos of a catalog, and other videos of the store whose files still exist. Raises
    BuilderError if the catalog's folder is another one and the store's own still has videos, or if
    the store has the classes of a folder and the catalog is of several paths."""
    if stored.sources.is_folder and not is_folder:
        raise BuilderError(
            f"{printable(str(stored.store))} was made from the folder "
            f"{printable(stored.sources.root)}, which gives its videos classes and a split. "
            "Several paths give none: name the folder, add videos with --add, or name another "
            "store with --out."
        )
    now = sources_of(catalog, is_folder=is_folder)
    paths = {file.path for file in now.files.values()}
    kept = {
        name: file
        for name, file in stored.sources.files.items()
        if name in stored.samples and name not in now.files and file.path not in paths
        if Path(file.path).is_file()
    }
    root = stored.sources.root
    if now.root != root and any(Path(file.path).is_relative_to(root) for file in kept.values()):
        raise are_others(stored, now)
    wanted, present = {video.name: video for video in catalog.videos}, stored.videos
    merged = _merged(catalog, wanted | {name: present[name] for name in kept})
    return Wanted(merged, replace(now, files=now.files | kept), frozenset(kept))


def are_others(stored: Stored, now: SourceFiles) -> BuilderError:
    """The error for videos that are unrelated to those of a store."""
    store = printable(str(stored.store))
    return BuilderError(
        f"{store} has {counted(len(stored.samples), 'video')} from "
        f"{printable(stored.sources.root) or 'another folder'}, not from {printable(now.root)}. To "
        f"combine both, add videos with `ascnet embed --add ... --out {quoted(stored.store)}`; "
        "otherwise name another store with --out, or replace this one with --overwrite."
    )


def with_more(stored: Stored, paths: Sequence[Path]) -> Wanted:
    """The videos of a store, and those at `paths` (files and folders). Videos below the store's own
    folder get the names and classes that reading this folder again would give; others get those
    that `paths` give. Raises BuilderError if a name belongs to another video."""
    catalogs, known = [catalog_of([path]) for path in paths], stored.sources
    by_path = {file.path: name for name, file in known.files.items()}
    present, below = stored.videos, _below(known)
    added: dict[str, Source] = {}
    for listed in (video for catalog in catalogs for video in catalog.videos):
        path = absolute(listed.path)
        video = _named_below(known, path, below) or _labelled(listed, stored)
        name = by_path.get(path, video.name)
        before = known.files.get(name)
        if name in present and (before is None or before.path != path):
            if stored.samples[name].row.source_sha256 != sha256_of(path):
                raise BuilderError(
                    f"{printable(path)} would be named {printable(name)}, like another video of "
                    f"{printable(str(stored.store))}"
                    f"{f' ({printable(before.path)})' if before else ''}. Rename the file, or add "
                    "its folder together with others, so that names include the folder."
                )
            continue
        if (first := added.get(name)) and first.path != video.path:
            raise BuilderError(
                f"{printable(absolute(first.path))} and {printable(path)} would both be named "
                f"{printable(name)}. Add the folder that contains both, or rename one."
            )
        added[name] = replace(video, name=name)
    kept = frozenset(present.keys() - added.keys())
    files = {name: file for name, file in known.files.items() if name in kept}
    files |= {name: SourceFile.at(video.path) for name, video in added.items()}
    left_alone = {*stored.left_alone, *_left_alone(known, catalogs)}
    catalog = Catalog(stored.dataset.name, Path(), (), (), tuple(sorted(left_alone)))
    return Wanted(_merged(catalog, present | added), replace(known, files=files), kept)


def without(stored: Stored, names: Sequence[str]) -> Wanted:
    """The videos of a store without some, given by their names or paths. Raises BuilderError if one
    is not in the store, or if no readable video would remain."""
    by_path = {file.path: name for name, file in stored.sources.files.items()}
    gone = {name if name in stored.samples else by_path.get(absolute(Path(name))) for name in names}
    if None in gone:
        absent = (n for n in names if n not in stored.samples)
        raise _is_not_there(stored, next(n for n in absent if absolute(Path(n)) not in by_path))
    left = {name: video for name, video in stored.videos.items() if name not in gone}
    if not any(stored.samples[name].row.status == BUILT for name in left):
        raise BuilderError(
            f"No video would remain in {printable(str(stored.store))}. To remove all, delete the "
            "file and the folder of its shards."
        )
    files = {name: file for name, file in stored.sources.files.items() if name in left}
    catalog = Catalog(stored.dataset.name, Path(), (), (), tuple(stored.left_alone))
    return Wanted(_merged(catalog, left), replace(stored.sources, files=files), frozenset(left))


def _is_not_there(stored: Stored, name: str) -> BuilderError:
    alike = [known for known in stored.samples if Path(known).name == Path(name).name]
    near = alike[:_NEAR] or difflib.get_close_matches(name, stored.samples, _NEAR)
    hint = f" Did you mean {' or '.join(map(printable, near))}?" if near else ""
    return BuilderUsageError(
        f"There is no video {printable(name)} in {printable(str(stored.store))}, so none was "
        f"removed.{hint}"
    )


def _below(known: SourceFiles) -> dict[str, Source]:
    """The videos in the store's own folder, read now; empty if it was not made from one folder, or
    if there are none now."""
    if not known.is_folder or not videos_in(Path(known.root)):
        return {}
    return {video.name: video for video in folder_catalog(Path(known.root)).videos}


def _named_below(known: SourceFiles, path: str, below: Mapping[str, Source]) -> Source | None:
    """A file below the store's own folder, as read from there; None if it is elsewhere."""
    if not known.root or not Path(path).is_relative_to(known.root):
        return None
    name = Path(path).relative_to(known.root).as_posix()
    return below.get(name) or Source(name, Path(path), None, name, {})


def _left_alone(known: SourceFiles, catalogs: Sequence[Catalog]) -> Iterator[tuple[str, str]]:
    """Files that are not videos, by their names in the store."""
    for catalog in catalogs:
        root = Path(absolute(catalog.root))
        is_below = bool(known.root) and root.is_relative_to(known.root)
        above = root.relative_to(known.root) if is_below else Path()
        yield from (((above / name).as_posix(), why) for name, why in catalog.left_alone)


def _labelled(video: Source, stored: Stored) -> Source:
    """A video from elsewhere, which keeps its class if the store has classes."""
    if stored.dataset.classes:
        return video
    return replace(video, class_name=None, group=video.name)


def _merged(catalog: Catalog, videos: Mapping[str, Source]) -> Catalog:
    """The catalog with these videos, sorted by name."""
    in_row = tuple(videos[name] for name in sorted(videos))
    classes = in_order(video.class_name for video in in_row if video.class_name)
    return replace(catalog, videos=in_row, classes=classes)
