"""Any tree of videos: the first folder level is the class, or there are no classes at all.

`splits.csv` in the root (`video,split[,group]`, paths below the root) decides the split if it is
there; otherwise 30 % of every class's groups are test. A group is `_gNN_` in a name where that
is there, else the video alone.
"""

import csv
import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from builder.catalog.source import Catalog, Source
from builder.errors import BuilderError

_SUFFIXES = """
    .3g2 .3gp .asf .avi .divx .dv .flv .gif .m1v .m2ts .m2v .m4v .mkv .mov .mp4 .mpeg .mpg .mts
    .mxf .ogv .qt .rm .rmvb .ts .vob .webm .wmv .y4m
"""
VIDEO_SUFFIXES = frozenset(_SUFFIXES.split())
NO_VIDEO_NAME = "its name has no video's ending"
_GROUP = re.compile(r"_g(\d+)_")
_TEST_SHARE = 0.3
_PARTS = ("train", "val", "test")


def read(root: Path) -> Catalog:
    """The catalog of a folder of videos. Raises BuilderError if there is none to read, or if
    `splits.csv` does not fit the folder."""
    if not root.is_dir():
        raise BuilderError(
            f"There is no folder {root}. Put your videos there, one folder a class or all in one "
            "folder, or name another one with --source (make shards: SOURCE=...)."
        )
    names = sorted(_walk(root))
    is_video = {name: Path(name).suffix.lower() in VIDEO_SUFFIXES for name in names}
    videos = [_source(root, name) for name in names if is_video[name]]
    if not videos:
        raise BuilderError(
            f"No video below {root} ({len(names)} other files). Known endings: "
            f"{' '.join(sorted(VIDEO_SUFFIXES))}."
        )
    table = root / "splits.csv"
    videos = _splits_from_csv(table, videos) if table.is_file() else _split_by_group(videos)
    classes = tuple(sorted({v.class_name for v in videos if v.class_name}))
    others = tuple(
        (name, NO_VIDEO_NAME) for name in names if not is_video[name] and name != "splits.csv"
    )
    return Catalog("folder", root, tuple(videos), classes, others)


def _walk(root: Path) -> Iterator[str]:
    """Names of all files below `root`, hidden ones left out, linked folders followed once."""
    seen: set[str] = set()
    for here, folders, files in os.walk(root, followlinks=True, onerror=_cannot_list):
        real = os.path.realpath(here)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in files:
            if not name.startswith("."):
                yield (Path(here) / name).relative_to(root).as_posix()


def _cannot_list(error: OSError) -> None:
    raise BuilderError(
        f"Cannot list {error.filename}: {error.strerror}. Its videos would be lost without a word; "
        "make it readable or move it away."
    )


def _source(root: Path, name: str) -> Source:
    class_name = name.split("/", maxsplit=1)[0] if "/" in name else None
    match = _GROUP.search(name.rsplit("/", 1)[-1])
    group = f"{class_name or ''}/g{match[1]}" if match else name
    return Source(name, root / name, class_name, group, {})


def _split_by_group(videos: list[Source]) -> list[Source]:
    """Split "1": of every class's groups, taken in the order of their hash, the first 30 % are
    test (at least one if there are two). Depends on the names alone."""
    groups: dict[str | None, set[str]] = {}
    for video in videos:
        groups.setdefault(video.class_name, set()).add(video.group)
    test: set[str] = set()
    for members in groups.values():
        order = sorted(members, key=lambda g: hashlib.sha256(os.fsencode(g)).digest())
        share = round(_TEST_SHARE * len(order))
        test.update(order[: max(share, 1) if len(order) > 1 else 0])
    return [replace(v, splits={"1": "test" if v.group in test else "train"}) for v in videos]


def _splits_from_csv(table: Path, videos: list[Source]) -> list[Source]:
    rows = _read_csv(table)
    listed, present = set(rows), {v.name for v in videos}
    if unlisted := sorted(present - listed):
        raise BuilderError(
            f"{table} says nothing of {len(unlisted)} of {len(present)} videos, the first is "
            f"{unlisted[0]!r}. Give every video a row, or remove the file for an automatic split."
        )
    missing = [replace(_source(table.parent, name), problem="missing") for name in listed - present]
    result = []
    for video in sorted(videos + missing, key=lambda v: v.name):
        row = rows[video.name]
        if row["split"] not in _PARTS:
            raise BuilderError(
                f"{table}: {video.name!r} has the split {row['split']!r}; "
                f"allowed are {', '.join(_PARTS)}."
            )
        group = row.get("group") or video.group
        result.append(replace(video, splits={"1": row["split"]}, group=group))
    return result


def _read_csv(table: Path) -> dict[str, dict[str, str]]:
    """Rows of `splits.csv` by video."""
    try:
        text = table.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise BuilderError(f"{table} is not in UTF-8 (byte {error.start}); save it so.") from error
    reader = csv.DictReader(text.splitlines())
    columns = reader.fieldnames or []
    if not {"video", "split"} <= set(columns):
        raise BuilderError(
            f"{table} has the columns {', '.join(columns) or '(none)'}; "
            "it needs video,split and may have group."
        )
    rows: dict[str, dict[str, str]] = {}
    for row in reader:
        if row["video"] in rows:
            raise BuilderError(f"{table} names {row['video']!r} twice; leave one row.")
        rows[row["video"]] = row
    return rows
