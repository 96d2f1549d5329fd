"""HMDB-51 (Kuehne et al. 2011): read its videos, labels, splits and groups.

Layout: `<class>/<name>.avi` below `hmdb51_org` or `videos` (only the first that exists is read), or
below the source folder itself. The three official splits come from the lists
`<class>_test_split<1|2|3>.txt`, with rows `name.avi ID`, where ID is 1 for train, 2 for test and 0
for neither. The lists are searched in the source folder, and in a folder
`testTrainMulti_7030_splits`, `splits` or `test_train_splits` in or beside it or the videos' folder.

The group is the recording that a clip was cut from: the name up to
`_<class>_<visible part>_<camera>_np<people>_<view>_<quality>_<number>.avi`. It does not include the
class, as one film may give clips of several. All official names have that form; a listed name that
does not is a group of its own.
"""

import re
from collections import Counter
from pathlib import Path

from builder.catalog import official_counts
from builder.catalog.files import (
    NO_VIDEO_NAME,
    find_names,
    first_folder,
    list_files,
    read_text,
)
from builder.catalog.source import Catalog, Source
from builder.errors import BuilderError
from builder.video_name import is_video

_LIST = re.compile(r".+_test_split[123]\.txt")
_LIST_FOLDERS = (
    "testTrainMulti_7030_splits",
    "splits",
    "test_train_splits",
    "test_train_splits/testTrainMulti_7030_splits",
)
_ENDING = r"_[fhlu]_(cm|nm)_np\d+_(ba|fr|le|ri)_(bad|goo|med)_\d+\.avi"
_PARTS = {"0": None, "1": "train", "2": "test"}
_UNLISTED = "in no official list"


def read(root: Path) -> Catalog:
    """Read the catalog of the HMDB-51 tree below `root`.

    Raises BuilderError if there are no videos or no official lists, or if a list is incomplete.
    """
    layout = f"HMDB-51 there ({root}/hmdb51_org/<class>/*.avi)"
    tree = first_folder(root, ("hmdb51_org", "videos", ""), layout)
    names, left_alone = list_files(tree)
    expected = f"expected {tree}/<class>/<name>.avi"
    if not any(is_video(name) for name in names):
        raise BuilderError(
            f"No HMDB-51 video below {tree}: {expected}. Unpack hmdb51_org.rar there, then the "
            "archive of each class that is in it, or name another folder with --source "
            "(make shards: SOURCE=...)."
        )
    lists = _find_lists(root, tree)
    classes = sorted({path.name.rpartition("_test_split")[0] for path in lists})
    whole = official_counts.Whole("HMDB-51", "6 766 videos of 51 classes", official_counts.hmdb51())
    if len(whole.strangers(classes)) == len(classes):
        raise BuilderError(
            f"None of the {len(classes)} classes with lists in {lists[0].parent} is one of "
            f"HMDB-51: {official_counts.shown(classes)}. Use the official lists, or build with the "
            "data set `folder`."
        )
    listed = _read_lists(lists, classes)
    there = find_names(listed, names, lists[0].parent)
    if not there:
        raise BuilderError(
            f"Of the {len(listed)} videos in {lists[0].parent} none is below {tree}: {expected}, "
            f"such as {min(listed)}. Use the names of hmdb51_org.rar, or build with the data set "
            "`folder`."
        )
    videos = tuple(_source(tree, name, there.get(name), listed[name]) for name in sorted(listed))
    read_here = {path.relative_to(tree).as_posix() for path in lists if path.is_relative_to(tree)}
    left_alone += [
        (name, _UNLISTED if is_video(name) else NO_VIDEO_NAME)
        for name in set(names) - set(there.values()) - read_here
    ]
    counts = Counter(video.class_name for video in videos)
    is_whole = counts == official_counts.hmdb51()
    remarks = () if is_whole else (whole.shortfall(len(videos), classes),)
    return Catalog("hmdb51", tree, videos, tuple(classes), tuple(sorted(left_alone)), remarks)


def _source(tree: Path, name: str, there: str | None, splits: dict[str, str]) -> Source:
    """A listed video; `there` is the name of its file in the tree, None if it is missing."""
    class_name, file = name.split("/")
    # `kick` and `kick_ball` are two classes: the class in the name must be the folder's.
    match = re.fullmatch(rf"(?P<recording>.+)_{re.escape(class_name)}{_ENDING}", file)
    group = match["recording"] if match else name
    problem = None if there else "missing"
    return Source(name, tree / (there or name), class_name, group, splits, problem=problem)


def _find_lists(root: Path, tree: Path) -> list[Path]:
    """Paths of the official lists, sorted, all in one folder."""
    bases = dict.fromkeys((root, tree, root.absolute().parent))
    for place in (root, tree, *(base / name for base in bases for name in _LIST_FOLDERS)):
        if place.is_dir():
            files = [path for path in place.iterdir() if _LIST.fullmatch(path.name)]
            if files:
                return sorted(files)
    raise BuilderError(
        f"There are no official splits of HMDB-51: no <class>_test_split1.txt in {root}, nor in "
        f"{root / _LIST_FOLDERS[0]}. Get them there with `ascnet fetch hmdb51`, or unpack "
        "test_train_splits.rar of the HMDB-51 page there. (The data set `folder` builds without.)"
    )


def _read_lists(lists: list[Path], classes: list[str]) -> dict[str, dict[str, str]]:
    """Parse all lists: {"kick/Film_kick_f_cm_np1_ba_med_19.avi": {"1": "train", "3": "test"}}."""
    listed: dict[str, dict[str, str]] = {}
    for class_name in classes:
        in_lists: Counter[str] = Counter()
        for split in "123":
            path = lists[0].parent / f"{class_name}_test_split{split}.txt"
            if path not in lists:
                raise BuilderError(
                    f"{path} is missing; every class needs its three lists. Get them with `ascnet "
                    "fetch hmdb51`, or from test_train_splits.rar of the HMDB-51 page."
                )
            for file, part in _read_list(path).items():
                in_lists[file] += 1
                splits = listed.setdefault(f"{class_name}/{file}", {})
                if part is not None:
                    splits[split] = part
        if odd := sorted(file for file, count in in_lists.items() if count < 3):
            raise BuilderError(
                f"{odd[0]} is in some of the three lists of {class_name} in {lists[0].parent} "
                "and not in the others. Use the official lists."
            )
    return listed


def _read_list(path: Path) -> dict[str, str | None]:
    """Parse one list: {"Film_kick_f_cm_np1_ba_med_19.avi": "train", "test" or None, ...}."""
    parts: dict[str, str | None] = {}
    for line in filter(None, map(str.strip, read_text(path).split("\n"))):
        file, *words = line.rsplit(maxsplit=1)
        number = words[0] if words else ""
        if "/" in file or number not in _PARTS:
            raise BuilderError(
                f"{path}: {line!r} is no line such as 'name.avi 1'; allowed numbers are "
                "0 (unused), 1 (train), 2 (test). Use the official lists."
            )
        if parts.setdefault(file, _PARTS[number]) != _PARTS[number]:
            raise BuilderError(f"{path} has two parts for {file!r}. Use the official lists.")
    return parts
