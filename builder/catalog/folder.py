"""Any tree of videos: the first folder level is the class; videos in the root have no class.

`splits.csv` in the root (`video,split[,group]`, with paths relative to the root) defines the split,
if it exists: train, val, test, or unused for a video that is in no part. If it does not exist, or
gives only groups (`video,group`), 30 % of every class's groups are test. The group of a video is
taken from `_gNN_` in its name; without one, the video is a group of its own.

Folders whose names look the same (`jump` and `jump `, or one in Unicode's NFC and one in NFD) are
one class. If all classes are whole numbers, labels follow their numerical order.
"""

import hashlib
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from builder.catalog.files import (
    NO_VIDEO_NAME,
    find_names,
    list_files,
    normal,
    read_csv,
)
from builder.catalog.source import SPLIT_PARTS, UNUSED, Catalog, Source, are_numbers, in_order
from builder.command_line import quoted
from builder.counted import counted
from builder.errors import BuilderError
from builder.shards.manifest import DATASET_FILE
from builder.video_name import VIDEO_SUFFIXES, is_video

_GROUP = re.compile(r"_g(\d+)_")
_TEST_SHARE = 0.3


def read(root: Path) -> Catalog:
    """Read the catalog of a folder of videos. Raises BuilderError if the folder or videos in it are
    missing, or if `splits.csv` does not fit them."""
    if not root.is_dir():
        if root.is_file():
            raise BuilderError(f"{root} is a file. Name the folder that it lies in: {root.parent}.")
        raise BuilderError(
            f"There is no folder {root}. Put your videos there, one folder a class or all in one "
            "folder, or name another one with --source (make shards: SOURCE=...)."
        )
    names, left_alone = list_files(root)
    unique, doubles = _each_once(root, [name for name in names if is_video(name)])
    left_alone += doubles
    videos = _one_spelling([_source(root, name) for name in unique])
    others = [name for name in names if not is_video(name)]
    if not videos:
        if any(root.glob(DATASET_FILE)) or any(root.glob(f"*/{DATASET_FILE}")):
            raise BuilderError(
                f"{root} holds shards, which are built already. `ascnet train {quoted(root)}` "
                f"trains on them, and `ascnet embed --shards {quoted(root)}` embeds them."
            )
        raise BuilderError(
            f"No video below {root} ({counted(len(others), 'other file')}). Known endings: "
            f"{' '.join(sorted(VIDEO_SUFFIXES))}."
        )
    table = root / "splits.csv"
    remarks: tuple[str, ...] = ()
    if table.is_file():
        videos, remarks = _as_table_says(table, videos)
    else:
        videos = split_by_group(videos)
    classes = in_order(v.class_name for v in videos if v.class_name)
    left_alone += [(name, NO_VIDEO_NAME) for name in others if name != "splits.csv"]
    remarks += remarks_on(videos, classes, f"{table}, column group")
    return Catalog("folder", root, tuple(videos), classes, tuple(sorted(left_alone)), remarks)


def _each_once(root: Path, names: Sequence[str]) -> tuple[list[str], list[tuple[str, str]]]:
    """Split `names` into unique files and links to files listed already, with the reason: a link
    must not put a video into a second class, or into both training and test."""
    links = {name for name in names if (root / name).is_symlink()}
    others = [name for name in names if name not in links] if links else []
    taken = {os.path.realpath(root / name): name for name in others}
    doubles: dict[str, str] = {}
    for name in sorted(links, key=lambda name: (name.count("/"), name)):
        first = taken.setdefault(os.path.realpath(root / name), name)
        if first != name:
            doubles[name] = f"the same file as {first}, which is read"
    return [name for name in names if name not in doubles], [*doubles.items()]


def group_of(name: str, place: str) -> str:
    """The group (source recording) of a video by its name: `place`/gNN, else the name itself."""
    match = _GROUP.search(name.rsplit("/", 1)[-1])
    return f"{place}/g{match[1]}" if match else name


def remarks_on(videos: Sequence[Source], classes: Sequence[str], column: str) -> tuple[str, ...]:
    """Sentences for whoever builds the data set, on its groups and labels. `column` says where
    groups can be given."""
    members = Counter(video.group for video in videos)
    sizes = members.values()
    low, high = min(sizes), max(sizes)
    size = f"{low} video{'s' if low > 1 else ''}" if low == high else f"{low} to {high} videos"
    text = f"{len(sizes)} groups of {size}" if len(sizes) > 1 else f"1 group of {size}"
    if alone := sum(v.group == v.name and members[v.group] == 1 for v in videos):
        text += (
            f": {alone} of {len(videos)} files have no _gNN_ in their names and count as a "
            f"recording each. If several are of one recording, give its group in {column}; "
            "otherwise it can be in both train and test (docs/datasets.md)."
        )
    else:
        text += "."
    return (text, _labels_remark(classes)) if classes and are_numbers(classes) else (text,)


def _labels_remark(classes: Sequence[str], shown: int = 12) -> str:
    """Say which label stands for which class, if class names are numbers, too."""
    if [str(label) for label in range(len(classes))] == list(classes):
        return f"Label N stands for class N, from 0 to {len(classes) - 1}."
    pairs = [f"{label} for class {name}" for label, name in enumerate(classes)][:shown]
    more = f", ... {len(classes) - 1} for class {classes[-1]}" if len(classes) > shown else ""
    return (
        "Labels are numbered from 0 in the order of the classes, which are numbers themselves: "
        f"label {', '.join(pairs)}{more}."
    )


def _one_spelling(videos: Sequence[Source]) -> list[Source]:
    """Merge classes whose names look the same; groups are derived again."""
    names = sorted({video.class_name for video in videos if video.class_name})
    spelling: dict[str, str] = {}
    for name in sorted(names, key=lambda name: (name != _look(name), name)):
        spelling.setdefault(_look(name), name)

    def spelt(video: Source) -> Source:
        if video.class_name is None:
            return video
        class_name = spelling[_look(video.class_name)]
        return replace(video, class_name=class_name, group=group_of(video.name, class_name))

    return [spelt(video) for video in videos]


def _look(class_name: str) -> str:
    return normal(class_name).strip() or class_name


def split_by_group(videos: Sequence[Source]) -> list[Source]:
    """Make split "1": the first 30 % of every class's groups, in the order of their hashes, are
    test (at least one group if there are two or more). Depends on the names only."""
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


def gives_split(table: Path) -> bool:
    """Whether a `splits.csv` gives the split, rather than groups only (the column `split` is
    missing, or empty in all rows). Raises BuilderError if it gives neither."""
    columns, rows = _read_table(table)
    if "split" not in columns and "group" not in columns:
        raise BuilderError(
            f"{table} has the columns {', '.join(columns)}; it needs video and split, or video and "
            "group for a split that is made from the groups."
        )
    return "group" not in columns or any(row.get("split") for row in rows)


def _read_table(table: Path) -> tuple[list[str], list[dict[str, str]]]:
    columns, lines = read_csv(table, ("video",), ("split", "group"))
    return columns, [row for _, row in lines]


def _as_table_says(table: Path, videos: list[Source]) -> tuple[list[Source], tuple[str, ...]]:
    """Apply a table's splits and groups to the videos; without splits, make one from the groups.
    Returns the videos, sorted, including missing ones, and remarks. A video that a table of groups
    does not name keeps its group."""
    has_splits = gives_split(table)
    rows: dict[str, dict[str, str]] = {}
    for row in _read_table(table)[1]:
        if rows.setdefault(row["video"], row) is not row:
            raise BuilderError(f"{table} names {row['video']!r} twice; leave one row.")
    for name, row in rows.items() if has_splits else ():
        if row["split"] not in (*SPLIT_PARTS, UNUSED):
            raise BuilderError(
                f"{table}: {name!r} has the split {row['split']!r}; allowed are "
                f"{', '.join(SPLIT_PARTS)}, {UNUSED}, or nothing in all rows where groups are "
                "given."
            )
    present = find_names(rows, (v.name for v in videos), table)
    unlisted = sorted({v.name for v in videos} - set(present.values()))
    if has_splits and unlisted:
        raise BuilderError(
            f"{table} says nothing of {len(unlisted)} of {len(videos)} videos, the first is "
            f"{unlisted[0]!r}. Give every video a row, or remove the file for an automatic split."
        )
    absent = [name for name in rows if name not in present]
    missing = [replace(_source(table.parent, name), problem="missing") for name in absent]
    row_of = {present.get(name, name): row for name, row in rows.items()}

    def with_row(video: Source) -> Source:
        row = row_of.get(video.name, {})
        splits = {"1": row["split"]} if has_splits and row["split"] != UNUSED else {}
        return replace(video, splits=splits, group=row.get("group") or video.group)

    by_name = sorted(videos + missing, key=lambda v: v.name)
    videos = [with_row(video) for video in _one_spelling(by_name)]
    if has_splits:
        return videos, ()
    remark = (
        f"{table} gives groups of {sum(bool(row['group']) for row in rows.values())} of "
        f"{len(videos)} videos and no split: 30 % of every class's groups are test."
    )
    if unlisted:
        remark += f" The {len(unlisted)} that it does not name are grouped by their names."
    return split_by_group(videos), (remark,)
