"""A table of the groups, and optionally a split, of a store's videos, for the next build.

A folder of videos has it as `splits.csv` (`video,group`). Videos from a list or from several paths
get a new list (`path,label,group`). Without a column `split`, the build makes a split from the
groups.
"""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ascnet.source_files import is_present
from builder.build.build import BuildSettings
from builder.catalog.all_datasets import READERS
from builder.catalog.files import normal
from builder.catalog.source import UNUSED
from builder.catalog.spreadsheet_cells import line, written
from builder.command_line import command_line, quoted
from builder.counted import counted
from builder.decode.frames import FrameSettings
from builder.errors import BuilderError, BuilderUsageError
from builder.printable import printable
from builder.shards.dataset import ShardDataset
from builder.shards.manifest import DATASET_FILE
from builder.shards.video_row import FAILED, VideoRow
from evaluate.features.store import Features
from evaluate.pages.pictures import UNREADABLE, as_stored

_FREE = ("csv", "folder")  # data sets whose groups are the user's
# How stores write bytes of file names that are not UTF-8.
_NO_UTF8 = re.compile(r"\\udc[89a-f][0-9a-f]")
_FRAMES = ("short_side", "jpeg_quality", "chroma", "fps", "min_frames", "max_frames")


def has_own_groups(store: Features) -> bool:
    """Whether a table can define the groups of the store's data set; otherwise official lists
    do."""
    dataset = store.attributes.get("dataset")
    return dataset not in READERS or dataset in _FREE


def check(store: Features, out: Path, option: str = "--groups") -> None:
    """Raise BuilderError if a table cannot define the groups of this data set, if `out` exists, or
    if its folder does not."""
    if not has_own_groups(store):
        raise BuilderUsageError(
            f"{option} is for data sets built by `ascnet build folder` or `csv`; the groups and "
            f"splits of {store.attributes['dataset']} are fixed. `ascnet near-duplicates --csv` "
            "writes its pairs."
        )
    if not out.parent.is_dir():
        raise BuilderError(
            f"There is no folder {printable(str(out.parent))} for {option}. Name the folder of the "
            "videos: VIDEOS/splits.csv."
        )
    if out.exists():
        raise BuilderError(
            f"{printable(str(out))} exists, and a split or groups in it would be lost. Move it "
            "away, or name another file."
        )


def table_of(store: Features, groups: Sequence[str], parts: Sequence[str] = ()) -> str:
    """The table as CSV, with a split if `parts` has the part of every video. Videos whose names are
    not UTF-8 are left out. The split of a folder must name every video, so those that could not be
    read have rows, too; they are unused."""
    is_tree = _is_tree(store)
    columns: dict[str, Sequence[str]] = {"video" if is_tree else "path": store.names}
    if not is_tree:
        columns["label"] = store.class_of
    columns["group"] = groups
    if parts:
        columns["split"] = parts
    rows = [*zip(*columns.values(), strict=True)]
    if parts and is_tree:
        rows += [(row.name, row.group, UNUSED) for row in _unread(store)]
    named = (line(map(written, row)) for row in rows if not _NO_UTF8.search(row[0]))
    return "".join((line(columns), *named))


def _unread(store: Features) -> list[VideoRow]:
    """The videos that could not be read, from the store's shards; none if these are gone."""
    try:
        rows = ShardDataset(store.shards).rows() if store.shards else ()
        return [row._replace(name=as_stored(row.name)) for row in rows if row.status == FAILED]
    except UNREADABLE:
        return []


def summary_of(store: Features, groups: Sequence[str], out: Path) -> str:
    """How many videos were joined, warnings, and the next commands."""
    joined = Counter(group for group in groups if group in _changed(store, groups))
    text = f"{printable(str(out))}: {counted(joined.total(), 'video')} joined into "
    text += counted(len(joined), "group")
    if joined:
        text += f", the largest of {counted(max(joined.values()), 'video')}"
    else:
        text += ": no pair links videos of two groups"
    text += f"; {counted(len(set(groups)), 'group')} in all, {len(set(store.groups))} before."
    lines = [text, *_careful(store, groups, joined)]
    lines.append(
        "The table defines no split, so the build makes one: 30 % of every class's groups are "
        "test. Next:"
    )
    return "\n".join([*lines, *next_commands(store, out)])


def _changed(store: Features, groups: Sequence[str]) -> set[str]:
    """The groups that were joined from several."""
    return {new for new, old in zip(groups, store.groups, strict=True) if new != old}


def _careful(store: Features, groups: Sequence[str], joined: Counter[str]) -> list[str]:
    lines = []
    of_class: dict[str, tuple[set[str], set[str]]] = {}
    for class_name, new, old in zip(store.class_of, groups, store.groups, strict=True):
        after, before = of_class.setdefault(class_name, (set(), set()))
        after.add(new)
        before.add(old)
    whole = [name for name, (after, before) in of_class.items() if len(after) == 1 < len(before)]
    if whole:
        what = "All videos are" if len(of_class) == 1 else f"All videos of {_classes(whole)} are"
        lines.append(
            f"Careful: {what} one group now, so they are all in train or all in test. If they are "
            "not copies, raise --threshold."
        )
    are_joined = zip(store.names, groups, strict=True)
    return lines + nameless([name for name, group in are_joined if group in joined])


def nameless(names: Sequence[str]) -> list[str]:
    """A warning if a table cannot name some of these videos."""
    odd = [name for name in names if _NO_UTF8.search(name)]
    if not odd:
        return []
    return [
        f"Careful: {counted(len(odd), 'video')} of these cannot be named in a table, as the name "
        f"is not UTF-8, such as {odd[0]}. Rename the file, then build and embed again."
    ]


def _classes(names: Sequence[str], shown: int = 5) -> str:
    more = f" and {len(names) - shown} more classes" if len(names) > shown else ""
    return f"{', '.join(printable(name) or '(no class)' for name in names[:shown])}{more}"


def next_commands(store: Features, out: Path) -> list[str]:
    """The commands that use the table."""
    is_tree, lines = _is_tree(store), []
    is_there = any(is_present(out.parent / name) for name in store.names)
    if is_tree:
        source, place = str(out.parent), "VIDEOS/splits.csv"
        is_there = is_there and out.name == "splits.csv"
    else:
        source, place = str(out), "VIDEOS/videos.csv"
    if not is_there:  # a placeholder
        source = "VIDEOS" if is_tree else place
        lines.append(f"  cp -i {quoted(out)} {place}    # VIDEOS: their folder")
    return lines + build_command(store, source)


def build_command(store: Features, source: str, *options: str) -> list[str]:
    """The command that builds the store's data set again from `source`, and a note on options to
    add."""
    kind, settings = "folder" if _is_tree(store) else "csv", _settings(store)
    words = ["ascnet", "build", kind, "--source", source, *options]
    lines = [f"  {command_line(*words, *(settings or []))}"]
    if settings is None:
        lines.append(
            "(add --name, --out and other options of your build, and --overwrite if it is there)"
        )
    return lines


def _settings(store: Features) -> list[str] | None:
    """Options to build the store's data set again; None if it is missing, or was built only for the
    store (`ascnet embed VIDEOS`)."""
    folder = store.shards
    if folder is None or folder.suffix == ".shards" or not (folder / DATASET_FILE).is_file():
        return None
    dataset = ShardDataset(folder)
    if dataset.name != folder.name:
        return None
    words = ["--name", dataset.name]
    if folder.parent != Path("shards").resolve():
        words += ["--out", str(folder.parent)]
    stored, default = dataset.manifest.settings, FrameSettings()
    for key in _FRAMES:
        if stored.get(key, getattr(default, key)) != getattr(default, key):
            words += [f"--{key.replace('_', '-')}", str(stored[key])]
    words += ["--shots"] if stored.get("shots") else []
    if stored["videos_per_shard"] != BuildSettings.videos_per_shard:
        words += ["--videos-per-shard", str(stored["videos_per_shard"])]
    if not str(stored["engine"]).startswith("ffmpeg"):
        words += ["--engine", "pyav"]
    return [*words, "--overwrite"]


def _is_tree(store: Features) -> bool:
    """Whether all videos have the class that `ascnet build folder` would give them."""
    first_level = (name.partition("/")[0] if "/" in name else "" for name in store.names)
    return not any(
        _look(level) != _look(class_name)
        for level, class_name in zip(first_level, store.class_of, strict=True)
    )


def _look(class_name: str) -> str:
    return normal(class_name).strip()
