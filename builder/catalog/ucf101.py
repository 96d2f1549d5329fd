"""UCF-101 (Soomro, Zamir, Shah 2012): where its videos, labels, splits and groups come from.

Layout: `UCF-101/<Class>/v_<Class>_gNN_cNN.avi`, the outer folder optional. The 25 groups of a
class are source recordings; test groups are 01-07, 08-14 and 15-21 of splits 1, 2 and 3. The
official lists (`trainlist01.txt`, `testlist01.txt`, ..., `classInd.txt`) are read where they lie
in the source folder or in a folder `ucfTrainTestlist` in or beside it, and must agree.
"""

import re
from pathlib import Path

from builder.catalog.source import Catalog, Source
from builder.errors import BuilderError

_NAME = re.compile(r"v_(?P<class>.+)_g(?P<group>\d\d)_c\d\d\.avi")
_TEST_GROUPS = {"1": range(1, 8), "2": range(8, 15), "3": range(15, 22)}


def splits_of_group(group: int) -> dict[str, str]:
    """Official membership of group 1..25 in the three splits, as {"1": "train" | "test", ...}."""
    return {s: "test" if group in groups else "train" for s, groups in _TEST_GROUPS.items()}


def read(root: Path) -> Catalog:
    """The catalog of the UCF-101 tree below `root`.

    Raises BuilderError if there is no such tree, or if an official list contradicts it.
    """
    tree = _find_tree(root)
    found = [_source(path) for path in _videos(tree)]
    if not found:
        raise BuilderError(
            f"No UCF-101 video below {root}: expected {root}/UCF-101/<Class>/v_<Class>_g01_c01.avi "
            f"(the folder UCF-101 may be left out). Unpack UCF101.rar there, or name another "
            "folder with --source (make shards: SOURCE=...)."
        )
    lists = _find_lists(root, tree)
    videos = found
    classes = sorted({v.class_name for v in found if v.class_name})
    if lists is not None:
        listed = _read_lists(lists)
        _must_agree(found, listed, lists)
        present = {v.name for v in found}
        videos = found + [
            _source(tree / name, problem="missing") for name in sorted(set(listed) - present)
        ]
        classes = _read_classes(lists) or sorted({v.class_name for v in videos if v.class_name})
    _must_know_classes(videos, classes)
    return Catalog("ucf101", tree, tuple(videos), tuple(classes))


def _find_tree(root: Path) -> Path:
    for tree in (root / "UCF-101", root):
        if tree.is_dir():
            return tree
    raise BuilderError(
        f"There is no folder {root}. Put UCF-101 there ({root}/UCF-101/<Class>/*.avi), "
        "or name its folder with --source (make shards: SOURCE=...)."
    )


def _videos(tree: Path) -> list[Path]:
    """All .avi files one folder down. (A glob would pass over folders that cannot be read.)"""
    folders = sorted(path for path in tree.iterdir() if path.is_dir())
    files = (path for folder in folders for path in sorted(folder.iterdir()))
    return [path for path in files if path.suffix.lower() == ".avi"]


def _source(path: Path, problem: str | None = None) -> Source:
    """A video by its path alone. The class is the folder's name: the files of the folder
    HandstandPushups are called v_HandStandPushups_*, so case is not compared."""
    folder, match = path.parent.name, _NAME.fullmatch(path.name)
    name = f"{folder}/{path.name}"
    if match is None or match["class"].lower() != folder.lower():
        return Source(name, path, folder, name, {}, problem="name not understood")
    group = int(match["group"])
    return Source(
        name, path, folder, f"{folder}/g{group:02d}", splits_of_group(group), problem=problem
    )


def _find_lists(root: Path, tree: Path) -> Path | None:
    places = [
        root,
        root / "ucfTrainTestlist",
        tree / "ucfTrainTestlist",
        root.parent / "ucfTrainTestlist",
    ]
    return next((p for p in places if (p / "trainlist01.txt").is_file()), None)


def _read_lists(folder: Path) -> dict[str, dict[str, str]]:
    """{"Class/v_Class_g01_c01.avi": {"1": "test", ...}} from the six official lists."""
    listed: dict[str, dict[str, str]] = {}
    for split in _TEST_GROUPS:
        for part in ("train", "test"):
            path = folder / f"{part}list0{split}.txt"
            if path.is_file():
                for line in path.read_text(encoding="utf-8").split("\n"):
                    if words := line.split():
                        listed.setdefault(words[0], {})[split] = part
    return listed


def _read_classes(folder: Path) -> list[str]:
    path = folder / "classInd.txt"
    if not path.is_file():
        return []
    rows = [line.split() for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
    for row in rows:
        if len(row) != 2 or not row[0].isdigit():
            raise BuilderError(f"{path}: {' '.join(row)!r} is no line such as '1 ApplyEyeMakeup'.")
    return [name for _, name in sorted(rows, key=lambda row: int(row[0]))]


def _must_agree(found: list[Source], listed: dict[str, dict[str, str]], lists: Path) -> None:
    for video in found:
        for split, part in listed.get(video.name, {}).items():
            if video.problem is None and video.splits[split] != part:
                raise BuilderError(
                    f"{video.name} is in the {part} list of split {split} in {lists}, but its "
                    f"group puts it into {video.splits[split]}. One of the two has been changed: "
                    "use the official lists, or build with the data set `folder` and a splits.csv."
                )


def _must_know_classes(videos: list[Source], classes: list[str]) -> None:
    unknown = sorted({v.class_name for v in videos if v.class_name} - set(classes))
    if unknown:
        raise BuilderError(
            f"Folder {unknown[0]} is no class in classInd.txt ({len(classes)} classes). "
            "Rename or remove it, or build with the data set `folder`."
        )
