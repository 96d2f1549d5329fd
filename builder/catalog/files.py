"""The files of a data set: which there are below a folder, and what its lists say."""

import csv
import io
import os
from pathlib import Path

from builder.errors import BuilderError

_SUFFIXES = """
    .3g2 .3gp .asf .avi .divx .dv .flv .gif .m1v .m2ts .m2v .m4v .mkv .mov .mp4 .mpeg .mpg .mts
    .mxf .ogv .qt .rm .rmvb .ts .vob .webm .wmv .y4m
"""
VIDEO_SUFFIXES = frozenset(_SUFFIXES.split())
NO_VIDEO_NAME = "its name has no video's ending"
HIDDEN = "hidden: its name starts with a dot"
_OURS = (".fetch", ".lock")  # what `ascnet fetch` leaves beside the videos
SEEN = "a link to a folder that has been read already"
NO_FILE = "neither a file nor a folder, or a link to nothing"


def is_video(name: str) -> bool:
    """Whether a file's name has a video's ending."""
    return name[name.rfind(".") :].lower() in VIDEO_SUFFIXES


def list_files(root: Path) -> tuple[list[str], list[tuple[str, str]]]:
    """Sorted names of all files below `root`, and what is there besides, each with the reason.

    Linked folders are followed, once each. Raises BuilderError if a folder cannot be listed.
    """
    names: list[str] = []
    left_alone: list[tuple[str, str]] = []
    seen: set[str] = set()
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        real = os.path.realpath(root / folder)
        if real in seen:
            left_alone.append((folder, SEEN))
            continue
        seen.add(real)
        inner = []
        for entry in _entries(root / folder):
            name = folder + entry.name
            kind = _kind(entry)
            if kind == "file":
                names.append(name)
            elif kind == "folder":
                inner.append(name + "/")
            else:
                left_alone.append((name, kind))
        waiting += sorted(inner, reverse=True)
    return sorted(names), sorted(left_alone)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if entry.name not in _OURS]
    except OSError as error:
        raise BuilderError(
            f"Cannot list {folder}: {error.strerror}. Its videos would be lost without a word; "
            "make it readable or move it away."
        ) from error


def _kind(entry: os.DirEntry[str]) -> str:
    """ "file", "folder", or why it is neither. Asks the disk of links alone."""
    if entry.name.startswith("."):
        return HIDDEN
    try:
        return "folder" if entry.is_dir() else "file" if entry.is_file() else NO_FILE
    except OSError:  # a link to itself
        return NO_FILE


def read_text(path: Path) -> str:
    """The text of a list, which must be in UTF-8 (a byte order mark is dropped)."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BuilderError(f"{path} is not in UTF-8 (byte {error.start}); save it so.") from error
    except OSError as error:
        raise BuilderError(f"Cannot read {path}: {error.strerror}. Make it readable.") from error


def read_csv(
    path: Path, needed: tuple[str, ...], optional: tuple[str, ...]
) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """Columns of a CSV file, and its rows with their line numbers; lines of nothing are no rows.

    Raises BuilderError if a needed column is absent, or a row is not as long as the head.
    """
    reader = csv.reader(io.StringIO(read_text(path), newline=""))
    rows = []
    try:
        columns = next(reader, [])
        if not set(needed) <= set(columns) or len(set(columns)) < len(columns):
            raise BuilderError(
                f"{path} has the columns {', '.join(columns) or '(none)'}; it needs "
                f"{','.join(needed)} and may have {','.join(optional)}, each once, in any order."
            )
        for cells in reader:
            if any(cells):
                if len(cells) != len(columns):
                    raise BuilderError(
                        f"{path}, line {reader.line_num}: {len(cells)} cells, and the head has "
                        f"{len(columns)}. Mend the row; a cell with a comma needs quotes."
                    )
                rows.append((reader.line_num, dict(zip(columns, cells, strict=True))))
    except csv.Error as error:
        raise BuilderError(f"{path}, line {reader.line_num}, is no CSV: {error}.") from error
    return columns, rows
