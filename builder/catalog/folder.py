"""Any tree of videos: the first folder level is the class, or there are no classes at all.

`splits.csv` in the root (`video,split[,group]`, paths below the root) decides the split if it is
there; otherwise 30 % of every class's groups are test. A group is `_gNN_` in a name where that
is there, else the video alone.
"""

import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from builder.catalog.files import NO_VIDEO_NAME, VIDEO_SUFFIXES, is_video, list_files, read_csv
from builder.catalog.source import PARTS, Catalog, Source
from builder.errors import BuilderError

_GROUP = re.compile(r"_g(\d+)_")
_TEST_SHARE = 0.3


def read(root: Path) -> Catalog:
    """The catalog of a folder of videos. Raises BuilderError if there is none to read, or if
    `splits.csv` does not fit the folder."""
    if not root.is_dir():
        raise BuilderError(
            f"There is no folder {root}. Put your videos there, one folder a class or all in one "
            "folder, or name another one with --source (make shards: SOURCE=...)."
        )
    names, left_alone = list_files(root)
    videos = [_source(root, name) for name in names if is_video(name)]
    others = [name for name in names if not is_video(name)]
    if not videos:
        raise BuilderError(
            f"No video below {root} ({len(others)} other files). Known endings: "
            f"{' '.join(sorted(VIDEO_SUFFIXES))}."
        )
    table = root / "splits.csv"
    videos = _splits_from_csv(table, videos) if table.is_file() else split_by_group(videos)
    classes = tuple(sorted({v.class_name for v in videos if v.class_name}))
    left_alone += [(name, NO_VIDEO_NAME) for name in others if name != "splits.csv"]
    return Catalog("folder", root, tuple(videos), classes, tuple(sorted(left_alone)))


def group_of(name: str, place: str) -> str:
    """The recording that a video is of, as its name tells: `place`/gNN, else the video alone."""
    match = _GROUP.search(name.rsplit("/", 1)[-1])
    return f"{place}/g{match[1]}" if match else name


def split_by_group(videos: Sequence[Source]) -> list[Source]:
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


def _source(root: Path, name: str) -> Source:
    class_name = name.split("/", maxsplit=1)[0] if "/" in name else None
    return Source(name, root / name, class_name, group_of(name, class_name or ""), {})


def _splits_from_csv(table: Path, videos: list[Source]) -> list[Source]:
    _, lines = read_csv(table, ("video", "split"), ("group",))
    rows: dict[str, dict[str, str]] = {}
    for _, row in lines:
        if row["video"] in rows:
            raise BuilderError(f"{table} names {row['video']!r} twice; leave one row.")
        if row["split"] not in PARTS:
            raise BuilderError(
                f"{table}: {row['video']!r} has the split {row['split']!r}; "
                f"allowed are {', '.join(PARTS)}."
            )
        rows[row["video"]] = row
    listed, present = set(rows), {v.name for v in videos}
    if unlisted := sorted(present - listed):
        raise BuilderError(
            f"{table} says nothing of {len(unlisted)} of {len(present)} videos, the first is "
            f"{unlisted[0]!r}. Give every video a row, or remove the file for an automatic split."
        )
    missing = [replace(_source(table.parent, name), problem="missing") for name in listed - present]
    return [
        replace(
            video,
            splits={"1": rows[video.name]["split"]},
            group=rows[video.name].get("group") or video.group,
        )
        for video in sorted(videos + missing, key=lambda v: v.name)
    ]
