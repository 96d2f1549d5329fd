"""Any videos, named by a CSV file: `path[,label][,group][,split]`, in any order, a row a video.

A path is relative to the CSV file's folder, or absolute. The split is train, val or test in every
row, or empty in all: then 30 % of every label's groups are test. Where no group is given, clips
of a label (without labels: of a folder) that share a `_gNN_` in their names are one, and any other
video is a group of its own.
"""

import os
from pathlib import Path

from builder.catalog.files import read_csv
from builder.catalog.folder import group_of, split_by_group
from builder.catalog.source import PARTS, Catalog, Source
from builder.errors import BuilderError

_NEEDED, _OPTIONAL = ("path",), ("label", "group", "split")

_Rows = list[tuple[int, dict[str, str]]]


def read(table: Path) -> Catalog:
    """The catalog of the videos that a CSV file names. Raises BuilderError if it is not whole, or
    if none of its videos is there."""
    if not table.is_file():
        what = "is a folder, and" if table.is_dir() else "is not there;"
        raise BuilderError(
            f"{table} {what} the data set `csv` needs a CSV file with the columns "
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
    _must_be_different(table, rows)
    _must_have_splits(table, rows)
    videos = [_source(table.parent, row) for _, row in rows]
    if all(video.problem for video in videos):
        raise BuilderError(
            f"None of the {len(videos)} videos in {table} is there, the first would be "
            f"{videos[0].path}. Paths are relative to the CSV file's folder, or absolute."
        )
    if not any(video.splits for video in videos):
        videos = split_by_group(videos)
    classes = sorted({v.class_name for v in videos if v.class_name})
    return Catalog("csv", table.parent, tuple(videos), tuple(classes))


def _source(folder: Path, row: dict[str, str]) -> Source:
    path, split, label = folder / row["path"], row.get("split"), row.get("label") or None
    place = label or row["path"].rpartition("/")[0]
    return Source(
        name=row["path"],
        path=path,
        class_name=label,
        group=row.get("group") or group_of(row["path"], place),
        splits={"1": split} if split else {},
        problem=None if _is_there(path) else "missing",
    )


def _is_there(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # too long a name, or a folder that may not be read
        return False


def _must_be_different(table: Path, rows: _Rows) -> None:
    """Two spellings of a path are one video."""
    first: dict[str, int] = {}
    for number, row in rows:
        if not row["path"]:
            raise BuilderError(f"{table}, line {number}: the path is empty. Fill it in.")
        path = os.path.normpath(table.parent / row["path"])
        if first.setdefault(path, number) != number:
            raise BuilderError(
                f"{table}, line {number}: {row['path']!r} is the video of line {first[path]} "
                "again; leave one row."
            )


def _must_have_splits(table: Path, rows: _Rows) -> None:
    for number, row in rows:
        if row.get("split") and row["split"] not in PARTS:
            raise BuilderError(
                f"{table}, line {number}: the split is {row['split']!r}; allowed are "
                f"{', '.join(PARTS)}, or nothing in all rows."
            )
    empty = [number for number, row in rows if not row.get("split")]
    if 0 < len(empty) < len(rows):
        raise BuilderError(
            f"{table}, line {empty[0]}: the split is empty, as in {len(empty)} of {len(rows)} "
            "rows. Fill it in everywhere, or nowhere for an automatic split."
        )
