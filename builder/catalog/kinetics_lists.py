"""Read the lists of a Kinetics tree: the part of every clip and, if given, its class.

A list is a .csv or .txt file in the source folder, in `annotations/` or in a folder named as in
DeepMind's archives (`kinetics400/`, `kinetics700_2020/`), with one of the words train, val,
validate, validation or test in its name, such as `kinetics-400_val.csv`, `train.txt` or
`kinetics600_holdout_test.csv`. Files whose name states another number of classes, and lists of
archives (`k600_train_path.txt`), are not read. A list has either

- a header with the columns youtube_id, time_start, time_end and optionally label and split,
  separated by commas or tabs (other columns are ignored), or
- no header, and one clip per line: id, start and end, with the label before or after them and the
  part after, separated by commas, tabs or spaces; or `<id>_<start>_<end>.mp4`, with the class as
  its folder or after it.
"""

import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

from builder.catalog.files import normal, read_csv, read_text
from builder.catalog.source import SPLIT_PARTS
from builder.errors import BuilderError

FOLDERS = ("", "annotations")  # below the source folder; lists are searched there
_COLUMNS = ("youtube_id", "time_start", "time_end")
_OPTIONAL = ("label", "split", "is_cc")
_ENDINGS = (".csv", ".txt")
_OTHER_ENDINGS = (".json", ".csv.gz", ".txt.gz", ".csv.zip")
_WORDS = {
    "train": "train",
    "val": "val",
    "validate": "val",
    "validation": "val",
    "test": "test",
    "holdout": "test",
}
_ID = r"(?P<id>[A-Za-z0-9_-]{11})"
_SECONDS = r"\d+(?:\.0)?"
_GAP = r"[\s,]+"
_BEHIND = rf"(?:{_GAP}(?P<behind>.*))?"
_FIELDS = re.compile(
    rf"(?:(?P<label>.+?){_GAP})?{_ID}{_GAP}(?P<start>{_SECONDS}){_GAP}(?P<end>{_SECONDS}){_BEHIND}"
)
_NAME = rf"{_ID}_(?P<start>\d+)_(?P<end>\d+)(?:\.\w+)?{_BEHIND}"
_PATH = re.compile(rf"(?:(?P<folders>.*)/)?{_NAME}")
_NAMED = re.compile(rf"(?P<label>.+?){_GAP}{_NAME}")


class ClipTimes(NamedTuple):
    """A clip of a YouTube video, from `start` to `end` in seconds. Without times, it is the whole
    video, or the only clip of it that is listed."""

    youtube_id: str
    start: int | None
    end: int | None


class ListedClip(NamedTuple):
    """The label (None: unlabelled) and part of a clip in a list."""

    label: str | None
    part: str


class Lists(NamedTuple):
    """The content of all lists together.

    Attributes:
        rows: label and part of every clip
        refused: rows that contradict an earlier one, as (file and line, what they state)
        unread: {file: reason} of files that are named as lists, but are none
    """

    rows: dict[ClipTimes, ListedClip]
    refused: list[tuple[str, str]]
    unread: dict[str, str]


@cache
def part_of(name: str) -> str | None:
    """The part that the name of a folder or list, or a cell, states; None if it states none, or
    several."""
    parts = {_WORDS[word] for word in re.split(r"[-_.\s]", name.lower()) if word in _WORDS}
    return parts.pop() if len(parts) == 1 else None


@cache
def letters(class_name: str) -> str:
    """Letters and digits of a class name in lower case, by which classes are compared."""
    return "".join(filter(str.isalnum, normal(class_name).casefold())) or class_name


def part_of_list(name: str, count: int, endings: tuple[str, ...] = _ENDINGS) -> str | None:
    """The part that a list covers, by its name; None if the file is no list of this data set."""
    folder, _, file = name.rpartition("/")
    ending = next((ending for ending in endings if file.lower().endswith(ending)), None)
    if ending is None or not _is_list_folder(folder, count):
        return None
    stem = file.removesuffix(file[-len(ending) :])
    if stem.lower().endswith("_path"):
        return None
    counts = re.findall("[467]00", file)
    return part_of(stem) if not counts or str(count) in counts else None


def _is_list_folder(folder: str, count: int) -> bool:
    """Whether lists are searched in a folder, given by its path below the source folder."""
    return folder in FOLDERS or bool(re.fullmatch(rf"kinetics[-_]?{count}(_2020)?", folder.lower()))


def not_read(names: list[str], count: int) -> dict[str, str]:
    """Lists in formats that are not supported: {file: what to do}."""
    return {
        name: f"lists are read as {' or '.join(_ENDINGS)}; unpack or convert it"
        for name in names
        if part_of_list(name, count, _OTHER_ENDINGS)
    }


def read_lists(root: Path, lists: dict[str, str]) -> Lists:
    """Read the lists, given as {file: part}. Raises BuilderError if one of them has a bad row."""
    rows: dict[ClipTimes, ListedClip] = {}
    refused, unread = [], {}
    spelling: dict[str, str] = {}
    for name in sorted(lists, key=lambda name: (SPLIT_PARTS.index(lists[name]), name)):
        lines = _read(root / name, lists[name])
        if isinstance(lines, str):
            unread[name] = lines
            continue
        for number, clip, label, part in lines:
            row = ListedClip(label and spelling.setdefault(letters(label), label), part)
            first = rows.setdefault(clip, row)
            if first.part == row.part and None in (first.label, row.label):
                rows[clip] = ListedClip(first.label or row.label, row.part)
            elif first != row:
                reason = (
                    f"names {clip.youtube_id} {clip.start}-{clip.end} as "
                    f"{row.label or 'unlabelled'} in {row.part}, and an earlier row as "
                    f"{first.label or 'unlabelled'} in {first.part}"
                )
                refused.append((f"{name}, line {number}", reason))
    return Lists(rows, refused, unread)


def _read(path: Path, part: str) -> list[tuple[int, ClipTimes, str | None, str]] | str:
    """Line number, clip, label and part of every row of a list, or the reason why it is none."""
    lines = [(n, line.strip()) for n, line in enumerate(read_text(path).split("\n"), 1)]
    lines = [(n, line) for n, line in lines if line]
    if not lines:
        return "it is empty"
    head = lines[0][1]
    has_head = _COLUMNS[0] in head
    rows = []
    number = 0
    try:
        if has_head:
            separator = "\t" if "\t" in head else ","
            for number, cells in read_csv(path, _COLUMNS, _OPTIONAL, separator)[1]:
                rows.append((number, *_of_cells(cells, part)))
        else:
            for number, line in lines:
                rows.append((number, *_of_line(line, part)))
    except ValueError as error:
        if not rows and not has_head:
            return (
                f"its first line, {head[:60]!r}, is neither a head (it needs "
                f"{','.join(_COLUMNS)}) nor a clip: {error}"
            )
        raise BuilderError(f"{path}, line {number}: {error}. Use the official list.") from error
    return rows


def _of_cells(cells: dict[str, str], part: str) -> tuple[ClipTimes, str | None, str]:
    """Parse a row below a header, in a list of `part`. Raises ValueError for invalid cells."""
    if not cells["youtube_id"]:
        raise ValueError("the youtube_id is empty")
    clip = ClipTimes(
        cells["youtube_id"], _seconds(cells["time_start"]), _seconds(cells["time_end"])
    )
    return clip, cells.get("label") or None, _part_of_cell(cells.get("split") or part)


def _of_line(line: str, part: str) -> tuple[ClipTimes, str | None, str]:
    """Parse a line of a list without a header. Raises ValueError if it names no clip."""
    line = line.replace('"', "")
    match = _FIELDS.fullmatch(line) or _PATH.fullmatch(line) or _NAMED.fullmatch(line)
    if match is None:
        raise ValueError("there is no id with a start and an end")
    cells = match.groupdict()
    folders = (cells.get("folders") or "").split("/")
    label = cells.get("label") or (None if part_of(folders[-1]) else folders[-1])
    behind, stated = _label_and_part(cells["behind"] or "")
    clip = ClipTimes(cells["id"], _seconds(cells["start"]), _seconds(cells["end"]))
    return clip, label or behind, stated or part


def _label_and_part(text: str) -> tuple[str | None, str | None]:
    """Parse what follows a clip in its line: a label, a part or both; numbers are ignored."""
    words = [word.strip() for word in re.split(r"[,\t]+", text)]
    if len(words) == 1:
        words = text.split()
    part = None
    while words and (words[-1].isdecimal() or words[-1] in _WORDS):
        part = _WORDS.get(words.pop(), part)
    if len(words) > 1 and words[0] in _WORDS:
        part = _WORDS[words.pop(0)]
    return " ".join(words) or None, part


def _part_of_cell(text: str) -> str:
    part = part_of(text)
    if part is None:
        raise ValueError(f"the split is {text!r}; allowed are {', '.join(_WORDS)}")
    return part


def _seconds(text: str) -> int:
    """Parse a whole number of seconds, which may be written as 10.0."""
    whole = text.removesuffix(".0")
    if not whole.isdecimal():
        raise ValueError(f"{text!r} is no whole number of seconds")
    return int(whole)
