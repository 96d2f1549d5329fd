"""UCF-101 (Soomro, Zamir, Shah 2012): read its videos, labels, splits and groups.

Layout: `UCF-101/<Class>/v_<Class>_gNN_cNN.avi`, the outer folder optional. The 25 groups of a
class are source recordings; test groups are 01-07, 08-14 and 15-21 of splits 1, 2 and 3. The
official lists (`trainlist01.txt`, `testlist01.txt`, ..., `classInd.txt`) are read if they are in
the source folder or in a folder `ucfTrainTestlist` in or beside it, and must agree with this rule.
Without them, the built-in names of all 13 320 videos are used. A video that is not listed is left
alone, a listed one without a file is missing, and a folder that is not a class is an error.

The files of the class HandstandPushups are named `v_HandStandPushups_*`: the case of the class is
ignored in file names, and its folder may be written either way.
"""

import re
from pathlib import Path

from builder.catalog import official_counts
from builder.catalog.files import first_folder, list_files, read_text
from builder.catalog.source import Catalog, Source
from builder.errors import BuilderError

_NAME = re.compile(r"v_(?P<class>.+)_g(?P<group>0[1-9]|1\d|2[0-5])_c\d\d\.avi")
_ALIASES = {"HandStandPushups": "HandstandPushups"}  # folder: class
_TEST_GROUPS = {"1": range(1, 8), "2": range(8, 15), "3": range(15, 22)}
_CLASSES_FILE = "classInd.txt"
_LIST_FILES = [_CLASSES_FILE] + [f"{p}list0{s}.txt" for p in ("train", "test") for s in "123"]
_NO_AVI = "no .avi file"
_NO_CLASS_FOLDER = "not in a class folder: UCF-101/<Class>/<video>.avi"
_UNLISTED = "in no official list"
_UNKNOWN = "not among the 13 320 videos of UCF-101"

_Listed = dict[str, dict[str, str]]  # {"Class/v_Class_g01_c01.avi": {"1": "test", ...}}


def read(root: Path) -> Catalog:
    """Read the catalog of the UCF-101 tree below `root`.

    Raises BuilderError if there is no such tree, or if an official list contradicts it.
    """
    layout = f"UCF-101 there ({root}/UCF-101/<Class>/*.avi)"
    tree = first_folder(root, ("UCF-101", ""), layout)
    lists = _find_lists(root, tree)
    names, left_alone = list_files(tree)
    present = set(names)
    read_here = {lists / file for file in _LIST_FILES} if lists else set()
    reasons = {name: _no_video(name, present) for name in names if tree / name not in read_here}
    candidates = [_source(tree, name) for name, reason in reasons.items() if reason is None]
    left_alone += [(name, reason) for name, reason in reasons.items() if reason]
    if not candidates:
        raise BuilderError(
            f"No UCF-101 video below {root}: expected {root}/UCF-101/<Class>/v_<Class>_g01_c01.avi "
            f"(the folder UCF-101 may be left out). Unpack UCF101.rar there, or name another "
            "folder with --source (make shards: SOURCE=...)."
        )
    if lists:
        classes, source = _read_classes(lists), _CLASSES_FILE
        listed = _read_lists(lists, classes)
    else:
        classes, source = list(official_counts.ucf101()), "UCF-101"
        listed = {name: {} for name in official_counts.ucf101_videos()}
    if classes:
        _must_know_classes(candidates, classes, source)
    videos = []
    for video in candidates:
        if _official(video.name) in listed:
            videos.append(video)
        else:
            reason = video.problem or (_UNLISTED if lists else _UNKNOWN)
            left_alone.append((video.name, reason))
    if not videos:
        name, reason = min(left_alone)
        raise BuilderError(
            f"None of the {len(candidates)} .avi files in class folders below {tree} is a video of "
            f"UCF-101; the first of what is there is {name}: {reason}. Use the names of "
            "UCF101.rar, or build with the data set `folder`."
        )
    absent = set(listed) - {_official(video.name) for video in videos}
    videos += [_source(tree, name, problem="missing") for name in sorted(absent)]
    if not classes:  # the official order, too
        classes = sorted({v.class_name for v in videos if v.class_name}, key=str.lower)
    whole = official_counts.Whole(
        "UCF-101", "13 320 videos of 101 classes", official_counts.ucf101()
    )
    is_whole = set(listed) == set(official_counts.ucf101_videos())
    return Catalog(
        "ucf101",
        tree,
        tuple(videos),
        tuple(classes),
        tuple(sorted(left_alone)),
        remarks=() if is_whole else (whole.shortfall(len(videos), classes),),
    )


def _official(name: str) -> str:
    """A video's name as in the official lists."""
    folder, _, file = name.partition("/")
    return f"{_ALIASES.get(folder, folder)}/{file}"


def _no_video(name: str, present: set[str]) -> str | None:
    """The reason why a file is not a video of the data set; None if it may be one."""
    if not name.lower().endswith(".avi"):
        return _NO_AVI
    if name.count("/") != 1:
        return _NO_CLASS_FOLDER
    if _official(name) != name and _official(name) in present:
        return f"the same video as {_official(name)}"
    return None


def _source(tree: Path, name: str, problem: str | None = None) -> Source:
    """A video, derived from its name "<folder>/<file>"."""
    class_name, file = _official(name).split("/")
    match = _NAME.fullmatch(file)
    if match is None or match["class"].lower() != class_name.lower():
        problem = problem or "name not understood"
        return Source(name, tree / name, class_name, name, {}, problem=problem)
    group = f"{class_name}/g{match['group']}"
    splits = {
        split: "test" if int(match["group"]) in groups else "train"
        for split, groups in _TEST_GROUPS.items()
    }
    return Source(name, tree / name, class_name, group, splits, problem=problem)


def _find_lists(root: Path, tree: Path) -> Path | None:
    name = "ucfTrainTestlist"
    places = (root, root / name, tree / name, root.absolute().parent / name)
    return next((p for p in places if (p / "trainlist01.txt").is_file()), None)


def _read_lists(folder: Path, classes: list[str]) -> _Listed:
    """Read the official lists: the parts of every video. Each split needs both lists, or none."""
    listed: _Listed = {}
    for split in _TEST_GROUPS:
        paths = {part: folder / f"{part}list0{split}.txt" for part in ("train", "test")}
        absent = [path for path in paths.values() if not path.is_file()]
        if len(absent) == 1:
            raise BuilderError(
                f"{absent[0]} is missing, and the other list of split {split} is there. Bring it "
                "back from UCF101TrainTestSplits-RecognitionTask.zip, or remove the other."
            )
        for part, path in paths.items() if not absent else ():
            for words in filter(None, map(str.split, read_text(path).split("\n"))):
                name = _name_of(words, classes, path)
                if listed.setdefault(name, {}).setdefault(split, part) != part:
                    raise BuilderError(f"{name} is in both lists of split {split} in {folder}.")
    for name, splits in listed.items():
        by_rule = _source(folder, name).splits
        for split, part in splits.items():
            if by_rule and by_rule[split] != part:
                raise BuilderError(
                    f"{name} is in the {part} list of split {split} in {folder}, but its "
                    f"group puts it into {by_rule[split]}. One of the two has been changed: "
                    "use the official lists, or build with the data set `folder` and a splits.csv."
                )
    return listed


def _name_of(words: list[str], classes: list[str], path: Path) -> str:
    """The video in a line of a list. Its class, and its label if there is one, must be known."""
    if len(words) > 2 or words[0].count("/") != 1:
        raise BuilderError(
            f"{path}: {' '.join(words)!r} is no line such as 'Archery/v_Archery_g08_c01.avi 3'. "
            "Use the official lists."
        )
    name = _official(words[0])
    class_name = name.split("/", maxsplit=1)[0]
    if classes and class_name not in classes:
        raise BuilderError(
            f"{path} names {name}, and {class_name} is no class in {_CLASSES_FILE} "
            f"({len(classes)} classes). Use the official lists."
        )
    if classes and len(words) == 2 and words[1] != str(classes.index(class_name) + 1):
        raise BuilderError(
            f"{path} gives {name} the label {words[1]}, and {_CLASSES_FILE} gives {class_name} "
            f"the number {classes.index(class_name) + 1}. Use the official lists."
        )
    return name


def _read_classes(folder: Path) -> list[str]:
    """Read the classes in the order of their numbers 1, 2, ...; [] if there is no such list."""
    path = folder / _CLASSES_FILE
    if not path.is_file():
        return []
    rows = [line.split() for line in read_text(path).split("\n") if line.strip()]
    for row in rows:
        if len(row) != 2 or not row[0].isdecimal():
            raise BuilderError(f"{path}: {' '.join(row)!r} is no line such as '1 ApplyEyeMakeup'.")
    names = [name for _, name in sorted(rows, key=lambda row: int(row[0]))]
    numbers = sorted(int(number) for number, _ in rows)
    if numbers != list(range(1, len(rows) + 1)) or len(set(names)) < len(names):
        raise BuilderError(
            f"{path} must number {len(rows)} different classes 1, 2, ..., {len(rows)}, each once. "
            "Use the official list."
        )
    return names


def _must_know_classes(videos: list[Source], classes: list[str], source: str) -> None:
    unknown = {v.class_name for v in videos if v.class_name} - set(classes)
    if unknown:
        folders, names, them = f"Folder {min(unknown)} is no class", "", "it"
        if len(unknown) > 1:
            folders, them = f"{len(unknown)} folders are no classes", "them"
            names = f": {official_counts.shown(unknown)}"
        raise BuilderError(
            f"{folders} in {source} ({len(classes)} classes){names}. Rename or remove {them}, or "
            "build with the data set `folder`."
        )
