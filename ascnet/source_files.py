"""`sources.json` beside a store's shards: the files that its videos were read from."""

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
    """A video's file, as it was before it was decoded.

    Attributes:
        path: absolute path
        bytes: size; None: the file was missing
        mtime_ns: modification time in nanoseconds; None: the file was missing
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
    """The files that the videos of a store were read from.

    Attributes:
        root: absolute path; names of videos are relative to it, unless they were added from
            elsewhere
        is_folder: whether one folder was read, whose first level gives the classes
        files: by names of the videos
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
    """An absolute path without `..`; links are not resolved."""
    return os.path.normpath(path.absolute())


def is_present(path: Path) -> bool:
    """Whether there is such a file; False if the disk allows no such name, or denies access."""
    try:
        return path.is_file()
    except OSError:
        return False


def is_readable(path: str) -> bool:
    """Whether a regular file can be opened and its first byte be read."""
    try:
        if not Path(path).is_file():
            return False
        with Path(path).open("rb") as file:
            file.read(1)
    except OSError:
        return False
    return True


def sha256_of(path: str) -> str | None:
    """SHA-256 of a file (hexadecimal); None if it cannot be read."""
    try:
        with Path(path).open("rb") as file:
            return file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


def sources_of(catalog: Catalog, *, is_folder: bool) -> SourceFiles:
    """The files of a catalog in their present state."""
    files = {video.name: SourceFile.at(video.path) for video in catalog.videos}
    return SourceFiles(absolute(catalog.root), is_folder, files)


def read_sources(folder: Path) -> SourceFiles | None:
    """Read the sources of the shards in a folder; None if the shards are of an earlier version, or
    the file is damaged."""
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
    """Record the files of a build that starts or continues. For videos decoded before, the files of
    that time are kept."""
    earlier = read_sources(folder)
    files = now.files | (
        {n: f for n, f in earlier.files.items() if n in now.files} if earlier else {}
    )
    folder.mkdir(parents=True, exist_ok=True)
    replace(now, files=files).write(folder)
