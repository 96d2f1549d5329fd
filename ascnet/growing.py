"""Change the videos of a store. New shards are built beside the old ones, and replace them when the
new store is complete.

    STORE.h5              the old store, until the new one is complete
    STORE.shards/         its shards
    STORE.partial.shards/ the new shards; videos in both are copied
    STORE.partial.h5      the new store
"""

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from ascnet.embedding import Listener, build_shards
from ascnet.growth import Growth
from ascnet.source_files import read_sources
from ascnet.store_videos import Stored
from builder.atomic import only_writer, partial_of, partials_in
from builder.build.build import BuildSettings
from builder.build.records import OF_VIDEOS, identity_of, is_finished, must_be_built_so
from builder.decode.frames import FrameSettings
from builder.errors import BuilderError
from builder.printable import printable
from builder.shards.manifest import fingerprint
from evaluate.features.earlier import Earlier
from evaluate.features.store import identity_in


def shards_of(store: Path) -> Path:
    """The folder of a store's shards; if it is a link, its target."""
    return Path(os.path.realpath(store.with_suffix(".shards")))


def growing_of(store: Path) -> Path:
    """The folder of the new shards that will replace them."""
    shards = shards_of(store)
    return shards.with_name(f"{shards.stem}.partial.shards")


def settle(store: Path) -> None:
    """Finish what a kill interrupted after the new store got its name. Raises BuilderError if
    another process is at work."""
    shards, growing = shards_of(store), growing_of(store)
    if not shards.is_dir():
        if growing.is_dir():
            take_place(store)
    elif growing.is_dir() or _replaced(shards):
        with only_writer(shards):
            take_place(store)


def take_place(store: Path) -> None:
    """Replace the old shards by the new ones if the store was made from them, and delete the old
    ones. The caller must hold the lock of the old shards."""
    shards, growing = shards_of(store), growing_of(store)
    is_built = is_finished(growing) and store.is_file()
    if is_built and identity_in(store).get("dataset_sha256") == fingerprint(growing):
        if shards.is_dir():
            shards.rename(partial_of(shards))
        growing.rename(shards)
    if shards.is_dir():
        for old in _replaced(shards):
            _remove(old)


def _remove(folder: Path) -> None:
    """Delete a folder whose lock is held. NFS and FUSE keep a deleted file under another name while
    it is open; the next command deletes the folder that remains."""
    try:
        shutil.rmtree(folder)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EBUSY):
            raise


def _replaced(shards: Path) -> list[Path]:
    """Folders of shards that have been replaced."""
    return [
        path
        for path in partials_in(shards.parent)
        if path.name.startswith(f"{shards.name}.") and path.is_dir() and not path.is_symlink()
    ]


def drop_growing(store: Path, say: Callable[[str], None]) -> None:
    """Delete new shards that were begun for other files."""
    growing = growing_of(store)
    if growing.is_dir():
        say(
            f"{printable(str(growing))}: was begun for other files and not finished; starting again"
        )
        shutil.rmtree(growing)


def has_no_shards(store: Path) -> BuilderError:
    """The error for a store that cannot be changed."""
    return BuilderError(
        f"There are no finished shards at {printable(str(shards_of(store)))}, where `ascnet embed` "
        f"keeps the frames of {printable(str(store))}, so nothing can be added or removed. For a "
        "store made with --shards, build the data set again; otherwise embed all videos with "
        "--overwrite."
    )


def has_other_videos(stored: Stored, growth: Growth, frames: FrameSettings) -> bool:
    """Whether the wanted shards differ from the existing ones. Raises BuilderError if these were
    built with other settings."""
    identity = identity_of(growth.catalog, frames, BuildSettings(frames).videos_per_shard)
    settings = stored.dataset.manifest.settings
    alike = {key: value for key, value in identity.items() if key not in OF_VIDEOS}
    must_be_built_so(stored.dataset.folder, settings, alike)
    return not growth.is_none or any(settings.get(key) != identity[key] for key in OF_VIDEOS)


def grow_shards(
    stored: Stored, growth: Growth, frames: FrameSettings, told: Listener
) -> tuple[Path, Earlier]:
    """Build the wanted shards beside those of the store. Returns their folder, and the features to
    copy. Raises BuilderError as `build_shards` does."""
    store, folder = stored.store, growing_of(stored.store)
    if read_sources(folder) != growth.sources:
        drop_growing(store, told.videos)
        folder.mkdir(parents=True)
        growth.sources.write(folder)
    dataset = build_shards(growth.catalog, folder, frames, told, earlier=growth.copied)
    old = {row.key: place for place, row in enumerate(stored.dataset.built_rows())}
    new = {row.key: place for place, row in enumerate(dataset.built_rows())}
    same = {new[key]: old[s.row.key] for key, s in growth.copied.items() if key in new}
    earlier = store if store.is_file() else None
    return folder, Earlier(earlier, shards_of(store), same if earlier else {})
