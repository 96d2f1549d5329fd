"""`sources.json`, beside the shards of a store: which files its videos were read from."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from hashlib import file_digest
from pathlib import Path

from builder.atomic import write_atomically
from builder.catalog.source import Catalog
from builder.errors import BuilderError
from builder.shards.stored_json import read_json

SOURCES_FILE = "sources.json"


@dataclass(frozen=True)
class SourceFile:
    """A video's file as it was before it was decoded.

    Attributes:
        path: absolute
        bytes: its size; None: there was none
        mtime_ns: when it was changed; None as well
    """

    path: str
    bytes: int | None
    mtime_ns: int | None

    @classmethod
    def at(cls, path: Path) -> "SourceFile":
        try:
            status = path.stat()
        except OSError:
            return cls(absolute(path), None, None)
        return cls(absolute(path), status.st_size, status.st_mtime_ns)


@dataclass(frozen=True)
class SourceFiles:
    """Where the videos of a store were read from.

    Attributes:
        root: absolute; names of videos are relative to it, but for those that were added from
            elsewhere
        is_folder: the root alone was read, its first level being classes
        files: by the names of the videos
    """

    root: str
    is_folder: bool
    files: dict[str, SourceFile]

    def text(self) -> str:
        files = {name: [f.path, f.bytes, f.mtime_ns] for name, f in sorted(self.files.items())}
        return json.dumps({"root": self.root, "is_folder": self.is_folder, "files": files})

    def write(self, folder: Path) -> None:
        write_atomically(folder / SOURCES_FILE, self.text())


def absolute(path: Path) -> str:
    """Without `..`; links are left as they are."""
    return os.path.normpath(path.absolute())


def sha256_of(path: str) -> str | None:
    """None if the file cannot be read."""
    try:
        with Path(path).open("rb") as file:
            return file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


def sources_of(catalog: Catalog, *, is_folder: bool) -> SourceFiles:
    """The files of a catalog as they are now."""
    files = {video.name: SourceFile.at(video.path) for video in catalog.videos}
    return SourceFiles(absolute(catalog.root), is_folder, files)


def read_sources(folder: Path) -> SourceFiles | None:
    """What is known of the files of the shards in a folder; None: nothing, for they are of an
    earlier version, or what is there is damaged."""
    path = folder / SOURCES_FILE
    if not path.is_file():
        return None
    try:
        values = read_json(path)
        files = dict(_files_in(values["files"]))
        return SourceFiles(str(values["root"]), bool(values["is_folder"]), files)
    except (BuilderError, LookupError, TypeError, ValueError, AttributeError):
        return None


def _files_in(values: dict[str, list[object]]) -> Iterator[tuple[str, SourceFile]]:
    for name, (path, size, changed) in values.items():
        is_known = isinstance(size, int) and isinstance(changed, int)
        yield name, SourceFile(str(path), size if is_known else None, changed if is_known else None)  # type: ignore[arg-type]


def begin_sources(folder: Path, now: SourceFiles) -> None:
    """Write down the files of a build that begins, or goes on: what was decoded before had the
    files that were there then."""
    earlier = read_sources(folder)
    files = now.files | (
        {n: f for n, f in earlier.files.items() if n in now.files} if earlier else {}
    )
    folder.mkdir(parents=True, exist_ok=True)
    replace(now, files=files).write(folder)
