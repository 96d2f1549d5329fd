"""Kinetics-400, -600 and -700: where their videos, labels, splits and groups come from.

The lists are the official csv files (columns youtube_id, time_start, time_end and, where they are
known, label and split; others are not looked at) in the source folder or in `annotations` there.
A list is a csv with one of the words train, val, validate, validation or test in its name, such
as `kinetics-400_val.csv`; one whose name has another number of classes (600) is not read. The
videos lie in `<part>/<class>/` or `<part>/`, where the part's folder has one of these words in
its name, too (`val_256`). A video is called `<id>_<start>_<end>.mp4` (or .mkv, ...), the seconds
zero-padded or not, or `<id>.mp4` where no other clip is of that id.

- The lists decide. A file in no list, or in the folder of another part or class than its list
  says, is left alone; a clip without a file is missing. Without any list the folders decide.
- Class names are compared by their letters and digits alone, in any case: the folder
  `arm_wrestling` is `arm wrestling`. The list's spelling counts; of several, the first.
- A clip that is named twice counts as its first row says, in the order train, val, test; a later
  row of another class or part is left alone. So it is with two files of one clip, in the order of
  their names, `<id>.mp4` last.
- A list without labels makes unlabelled videos, whatever folder they lie in.
"""

import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

from builder.catalog.files import NO_VIDEO_NAME, is_video, list_files, read_csv
from builder.catalog.source import PARTS, Catalog, Source
from builder.errors import BuilderError

_COLUMNS = ("youtube_id", "time_start", "time_end")
_WORDS = {"train": "train", "val": "val", "validate": "val", "validation": "val", "test": "test"}
_CLIP = re.compile(r"(?P<id>[A-Za-z0-9_-]{11})(_(?P<start>\d+)_(?P<end>\d+))?")  # ids hold _ and -
_NO_LIST = "a csv that is not read: no train, val or test in its name, or another class count"
_NO_PLACE = "not in <part>/ or <part>/<class>/, where the part is train, val or test"
_NO_CLIP = "its name is not <id>_<start>_<end> or <id>"
_UNLISTED = "in no csv"
_SEVERAL = "its name has no times, and several clips have its id"


class _Clip(NamedTuple):
    """Seconds of a video. Without times: all of them, or the one clip of it that is listed."""

    youtube_id: str
    start: int | None
    end: int | None


class _Row(NamedTuple):
    """What a list says of a clip."""

    label: str | None
    part: str


class _File(NamedTuple):
    """What a file's name and folders say of it."""

    name: str
    part: str
    class_name: str | None
    clip: _Clip | None  # None: not understood


def read(root: Path, count: int) -> Catalog:
    """The catalog of the Kinetics tree below `root`, which has `count` classes (400, 600, 700).

    Raises BuilderError if there are no videos, or if lists and folders do not say which part and
    class they are of. A tree may hold fewer classes.
    """
    if not root.is_dir():
        raise BuilderError(
            f"There is no folder {root}. Put Kinetics-{count} there ({root}/train/<class>/*.mp4, "
            f"{root}/train.csv, ...), or name its folder with --source (make shards: SOURCE=...)."
        )
    names, left_alone = list_files(root)
    lists = {name: part for name in names if (part := _part_of_list(name, count))}
    files = []
    for name in names:
        if name not in lists:
            file = _parse(name)
            if isinstance(file, _File):
                files.append(file)
            else:
                left_alone.append((name, file))
    files.sort(key=lambda f: (f.clip is not None and f.clip.start is None, f.name))
    if lists:
        videos, again = _read_by_lists(root, files, lists)
    else:
        videos, again = _read_by_folders(root, files, left_alone, count)
    left_alone += again
    if all(video.problem == "missing" for video in videos):
        others = f" ({len(left_alone)} others, {': '.join(min(left_alone))})" if left_alone else ""
        raise BuilderError(
            f"No Kinetics-{count} video below {root}{others}: expected "
            f"{root}/val/<class>/<id>_000010_000020.mp4 or {root}/val/<id>_000010_000020.mp4. Put "
            "them there, or name another folder with --source (make shards: SOURCE=...)."
        )
    classes = sorted({v.class_name for v in videos if v.class_name})
    if len(classes) > count:
        raise BuilderError(
            f"{root} has {len(classes)} classes, and Kinetics-{count} has {count}. Build the data "
            "set whose lists these are (kinetics400, kinetics600, kinetics700), or remove those "
            "of another."
        )
    dataset = f"kinetics{count}"
    return Catalog(dataset, root, tuple(videos), tuple(classes), tuple(sorted(left_alone)))


def _part_of_list(name: str, count: int) -> str | None:
    """The part that a list is of, by its name; None if the file is no list of this data set."""
    folder, _, file = name.rpartition("/")
    if folder not in ("", "annotations") or not file.lower().endswith(".csv"):
        return None
    counts = re.findall("[467]00", file)
    return _part(file[: -len(".csv")]) if not counts or str(count) in counts else None


@cache
def _part(name: str) -> str | None:
    """The part that a folder or list is of: the one word of its name that says so."""
    parts = {_WORDS[word] for word in re.split("[-_.]", name.lower()) if word in _WORDS}
    return parts.pop() if len(parts) == 1 else None


@cache
def _letters(class_name: str) -> str:
    """What is compared of a class's name."""
    return "".join(filter(str.isalnum, class_name.casefold())) or class_name


def _parse(name: str) -> _File | str:
    """A file of the tree, or why it is no video of the data set."""
    *folders, file = name.split("/")
    if not is_video(file):
        return _NO_LIST if file.lower().endswith(".csv") else NO_VIDEO_NAME
    part = _part(folders[0]) if len(folders) in (1, 2) else None
    if part is None:
        return _NO_PLACE
    match = _CLIP.fullmatch(file.rpartition(".")[0])
    clip = None
    if match:
        times = [int(match[t]) if match[t] else None for t in ("start", "end")]
        clip = _Clip(match["id"], *times)
    return _File(name, part, folders[1] if len(folders) == 2 else None, clip)


def _read_by_lists(
    root: Path, files: list[_File], lists: dict[str, str]
) -> tuple[list[Source], list[tuple[str, str]]]:
    rows, left_alone = _read_lists(root, lists)
    of_id: dict[str, list[_Clip]] = {}
    for clip in rows:
        of_id.setdefault(clip.youtube_id, []).append(clip)
    found: dict[_Clip, str] = {}
    for file in files:
        held = _find(file, rows, of_id)
        if isinstance(held, str):
            left_alone.append((file.name, held))
        elif found.setdefault(held, file.name) != file.name:
            left_alone.append((file.name, f"the same clip as {found[held]}"))
    videos, style = [], _Style(files)
    for clip, row in rows.items():
        name = found.get(clip) or style.name_of(clip, row)
        problem = None if clip in found else "missing"
        videos.append(_source(root, name, row.label, row.part, clip.youtube_id, problem))
    return videos, left_alone


class _Style:
    """How the files of this tree are called: a missing one is called as it will be when it is
    there, so that a build then knows it again."""

    def __init__(self, files: list[_File]) -> None:
        self._parts: dict[str, str] = {}  # the folder of a part
        self._flat: set[str] = set()  # parts without class folders
        self._classes: dict[str, str] = {}  # the folder of a class, by its letters
        self._ending = files[0].name.rpartition(".")[2] if files else "mp4"
        for file in files:
            self._parts.setdefault(file.part, file.name.partition("/")[0])
            if file.class_name is None:
                self._flat.add(file.part)
            else:
                self._classes.setdefault(_letters(file.class_name), file.class_name)

    def name_of(self, clip: _Clip, row: _Row) -> str:
        folders = [self._parts.get(row.part, row.part)]
        if row.label and row.part not in self._flat:
            folders.append(self._classes.get(_letters(row.label), row.label))
        file = f"{clip.youtube_id}_{clip.start:06d}_{clip.end:06d}.{self._ending}"
        return "/".join([*folders, file])


def _find(file: _File, rows: dict[_Clip, _Row], of_id: dict[str, list[_Clip]]) -> _Clip | str:
    """The listed clip that a file holds, or why it holds none."""
    clip = file.clip
    if clip is None:
        return _NO_CLIP
    if clip.start is None:
        clips = of_id.get(clip.youtube_id, [clip])
        if len(clips) > 1:
            return _SEVERAL
        clip = clips[0]
    row = rows.get(clip)
    if row is None:
        return _UNLISTED
    if file.part != row.part:
        return f"its folder is of {file.part}, and its csv says {row.part}"
    if file.class_name and row.label and _letters(file.class_name) != _letters(row.label):
        return f"its folder is {file.class_name!r}, and its csv says {row.label!r}"
    return clip


def _read_lists(
    root: Path, lists: dict[str, str]
) -> tuple[dict[_Clip, _Row], list[tuple[str, str]]]:
    """What the lists say of every clip, and the rows that contradict an earlier one."""
    rows: dict[_Clip, _Row] = {}
    left_alone = []
    spelling: dict[str, str] = {}
    for name in sorted(lists, key=lambda name: (PARTS.index(lists[name]), name)):
        path = root / name
        for number, cells in read_csv(path, _COLUMNS, ("label", "split", "is_cc"))[1]:
            try:
                clip, row = _read_row(cells, lists[name])
            except ValueError as error:
                raise BuilderError(
                    f"{path}, line {number}: {error}. Use the official csv."
                ) from error
            if row.label:
                row = _Row(spelling.setdefault(_letters(row.label), row.label), row.part)
            first = rows.setdefault(clip, row)
            if first != row:
                reason = (
                    f"names {clip.youtube_id} {clip.start}-{clip.end} as "
                    f"{row.label or 'unlabelled'} in {row.part}, and an earlier row as "
                    f"{first.label or 'unlabelled'} in {first.part}"
                )
                left_alone.append((f"{name}, line {number}", reason))
    return rows, left_alone


def _read_row(cells: dict[str, str], part: str) -> tuple[_Clip, _Row]:
    """A clip and what its row says, in a list of `part`. Raises ValueError if that is nonsense."""
    if not cells["youtube_id"]:
        raise ValueError("the youtube_id is empty")
    clip = _Clip(cells["youtube_id"], _seconds(cells["time_start"]), _seconds(cells["time_end"]))
    word = cells.get("split") or part
    if word not in _WORDS:
        raise ValueError(f"the split is {word!r}; allowed are {', '.join(_WORDS)}")
    return clip, _Row(cells.get("label") or None, _WORDS[word])


def _seconds(text: str) -> int:
    """A whole number of seconds, also if it is written 10.0."""
    whole = text.removesuffix(".0")
    if not whole.isdecimal():
        raise ValueError(f"{text!r} is no whole number of seconds")
    return int(whole)


def _read_by_folders(
    root: Path, files: list[_File], left_alone: list[tuple[str, str]], count: int
) -> tuple[list[Source], list[tuple[str, str]]]:
    homeless = [file.name for file in files if file.class_name is None]
    homeless += [name for name, reason in left_alone if reason == _NO_PLACE]
    if homeless:
        raise BuilderError(
            f"{root} has no csv of Kinetics-{count}, and {len(homeless)} videos are not in "
            f"<part>/<class>/, the first is {min(homeless)!r}. Put the official train.csv, "
            f"val.csv, ... into {root} or {root / 'annotations'}, or the videos into folders such "
            "as train/abseiling."
        )
    found: dict[_Clip, str] = {}
    spelling: dict[str, str] = {}
    videos, again = [], []
    for file in files:
        assert file.class_name is not None
        class_name = spelling.setdefault(_letters(file.class_name), file.class_name)
        if file.clip is None:
            problem = "name not understood"
            videos.append(_source(root, file.name, class_name, file.part, file.name, problem))
        elif found.setdefault(file.clip, file.name) != file.name:
            again.append((file.name, f"the same clip as {found[file.clip]}"))
        else:
            group = file.clip.youtube_id
            videos.append(_source(root, file.name, class_name, file.part, group, None))
    return videos, again


def _source(
    root: Path, name: str, class_name: str | None, part: str, group: str, problem: str | None
) -> Source:
    return Source(name, root / name, class_name, group, {"1": part}, problem=problem)
