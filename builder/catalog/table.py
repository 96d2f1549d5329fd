"""Any videos, listed in a CSV file: columns `path[,label][,group][,split]`, one row per video.

A path is relative to the CSV file's folder, or absolute. The split is train, val, test or unused
(in no part), in every row; if it is empty in all, 30 % of every label's groups are test. If no
group is given, clips of a label (without labels: of a folder) that share a `_gNN_` in their names
are one group, and any other video is a group of its own.

Spaces around a label, group or split are ignored, and labels that look the same in Unicode are one
class. If all labels are whole numbers, classes are in numerical order. A path that does not exist
as written is searched by Unicode normalisation: macOS writes `é` as two characters.
"""

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path

from builder.catalog.files import normal, read_csv
from builder.catalog.folder import group_of, remarks_on, split_by_group
from builder.catalog.source import SPLIT_PARTS, UNUSED, Catalog, Source, in_order
from builder.errors import BuilderError

_NEEDED, _OPTIONAL = ("path",), ("label", "group", "split")

_Rows = list[tuple[int, dict[str, str]]]
_NamesIn = Callable[[Path], list[str]]  # lists a folder


def read(table: Path) -> Catalog:
    """Read the catalog of the videos that a CSV file lists. Raises BuilderError if the file is
    missing or invalid, or if none of its videos exists."""
    if not table.is_file():
        problem = "is a folder, and" if table.is_dir() else "is not there;"
        raise BuilderError(
            f"{table} {problem} the data set `csv` needs a CSV file with the columns "
            "path,label,group,split. Name it with --source (make shards: SOURCE=...)."
        )
    columns, rows = read_csv(table, _NEEDED, _OPTIONAL)
    if unknown := [name for name in columns if name not in _NEEDED + _OPTIONAL]:
        raise BuilderError(
            f"{table} has unknown columns: {', '.join(map(repr, unknown))}; allowed are "
            f"{', '.join(_NEEDED + _OPTIONAL)}. Rename or remove them."
        )
    if not rows:
        raise BuilderError(f"{table} names no video; give it a row for each.")
    rows = [(number, _tidy(row)) for number, row in rows]
    names_in = cache(lambda folder: sorted(entry.name for entry in folder.iterdir()))
    paths = [_on_disk(table, number, row["path"], names_in) for number, row in rows]
    _must_be_different(table, rows, paths)
    _must_have_splits(table, rows)
    videos = [_source(row, path) for (_, row), path in zip(rows, paths, strict=True)]
    if all(video.problem for video in videos):
        raise BuilderError(
            f"None of the {len(videos)} videos in {table} is there, the first would be "
            f"{videos[0].path}. Paths are relative to the CSV file's folder, or absolute."
        )
    if not any(row.get("split") for _, row in rows):
        videos = split_by_group(videos)
    classes = in_order(v.class_name for v in videos if v.class_name)
    remarks = remarks_on(videos, classes, f"{table}, column group")
    return Catalog("csv", table.parent, tuple(videos), classes, remarks=remarks)


def _tidy(row: dict[str, str]) -> dict[str, str]:
    """Normalise and strip the cells of a row, except the path."""
    return {key: cell if key == "path" else normal(cell).strip() for key, cell in row.items()}


def _on_disk(table: Path, number: int, name: str, names_in: _NamesIn) -> Path:
    """The path of a row's file: as written if it exists, else the one that looks the same. Raises
    BuilderError if there are several."""
    path = table.parent / name
    if name.isascii() or _is_there(path):
        return path
    folders = [Path(path.anchor)] if path.anchor else [Path()]
    for part in path.parts[1 if path.anchor else 0 :]:
        folders = [alike for folder in folders for alike in _alike(folder, part, names_in)]
    if len(folders) > 1:
        raise BuilderError(
            f"{table}, line {number}: {name!a} is not there as it is written, and "
            f"{len(folders)} files look like it: {', '.join(ascii(str(f)) for f in folders)}. "
            "Write it as one of them is written."
        )
    return folders[0] if folders else path


def _alike(folder: Path, name: str, names_in: _NamesIn) -> list[Path]:
    """Entries of a folder whose name looks like `name`; only `name` itself if it exists."""
    try:
        if name.isascii() or os.path.lexists(folder / name):
            return [folder / name]
        return [folder / there for there in names_in(folder) if normal(there) == normal(name)]
    except OSError:  # too long a name, or a folder that may not be read
        return []


def _source(row: dict[str, str], path: Path) -> Source:
    split, label = row.get("split"), row.get("label") or None
    place = label or row["path"].rpartition("/")[0]
    return Source(
        name=row["path"],
        path=path,
        class_name=label,
        group=row.get("group") or group_of(row["path"], place),
        splits={"1": split} if split and split != UNUSED else {},
        problem=None if _is_there(path) else "missing",
    )


def _is_there(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # too long a name, or a folder that may not be read
        return False


def _must_be_different(table: Path, rows: _Rows, paths: list[Path]) -> None:
    """Raise BuilderError if a path is empty, or if two rows name the same file."""
    first: dict[str, int] = {}
    for (number, row), place in zip(rows, paths, strict=True):
        if not row["path"]:
            raise BuilderError(f"{table}, line {number}: the path is empty. Fill it in.")
        path = os.path.normpath(place)
        if first.setdefault(path, number) != number:
            raise BuilderError(
                f"{table}, line {number}: {row['path']!r} is the video of line {first[path]} "
                "again; leave one row."
            )


def _must_have_splits(table: Path, rows: _Rows) -> None:
    for number, row in rows:
        if row.get("split") and row["split"] not in (*SPLIT_PARTS, UNUSED):
            raise BuilderError(
                f"{table}, line {number}: the split is {row['split']!r}; allowed are "
                f"{', '.join(SPLIT_PARTS)}, {UNUSED}, or nothing in all rows."
            )
    empty = [number for number, row in rows if not row.get("split")]
    if 0 < len(empty) < len(rows):
        raise BuilderError(
            f"{table}, line {empty[0]}: the split is empty, as in {len(empty)} of {len(rows)} "
            "rows. Fill it in everywhere, or nowhere for an automatic split."
        )
