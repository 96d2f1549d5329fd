"""Kinetics-400, -600 and -700: read their videos, labels, splits and groups.

The official lists (`kinetics_lists`) are in the source folder or its folder `annotations`. The
videos are in `<part>/<class>/` or `<part>/`, where the name of the part's folder contains one of
the words train, val, validate, validation or test (`val_256`). A video is named
`<id>_<start>_<end>.mp4` (or .mkv, ...), the seconds zero-padded or not, or `<id>.mp4` if no other
clip has that id. The folder `replacement` holds clips that replace damaged ones of any part, where
the official scripts for Kinetics-400 put them.

- The lists decide. A file in no list, or in the folder of a part or class other than its list's,
  is left alone; a clip without a file is missing. A folder that is not the class of any list
  (`part_0`) is ignored. Without any list the folders decide.
- A part with videos of which none is used, for example because no list covers it, is an error.
- Class names are compared by their letters and digits only, ignoring case: the folder
  `arm_wrestling` is `arm wrestling`. The list's spelling is used; of several, the first.
- If a clip is listed twice, its first row counts, in the order train, val, test; a later row with
  another class or part is left alone. If a clip has two files, replacements come first, then the
  others in the order of their names, `<id>.mp4` last.
- A clip that occurs only in lists without labels is unlabelled, whatever folder it is in.
"""

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from builder.catalog import official_counts
from builder.catalog.files import NO_VIDEO_NAME, first_folder, list_files
from builder.catalog.kinetics_lists import (
    FOLDERS,
    ClipTimes,
    ListedClip,
    Lists,
    letters,
    not_read,
    part_of,
    part_of_list,
    read_lists,
)
from builder.catalog.source import Catalog, Source
from builder.errors import BuilderError
from builder.video_name import is_video

_CLIP = re.compile(r"(?P<id>[A-Za-z0-9_-]{11})(_(?P<start>\d+)_(?P<end>\d+))?")  # ids hold _ and -
_NO_LIST = "a list that is not read: no train, val or test in its name, or another class count"
_NO_PLACE = "not in <part>/ or <part>/<class>/, where the part is train, val or test"
_NO_CLIP = "its name is not <id>_<start>_<end> or <id>"
_UNLISTED = "in no list"
_SEVERAL = "its name has no times, and several clips have its id"
_NO_PART = "a replacement, and no list or other file says of what part and class"
_REPLACEMENT = "replacement"  # beginning of the folder's name


class _File(NamedTuple):
    """A video file, with the part, class and clip that its folders and name state."""

    name: str
    part: str | None  # None: a replacement
    class_name: str | None
    clip: ClipTimes | None  # None: the name cannot be parsed


def read(root: Path, count: int) -> Catalog:
    """Read the catalog of the Kinetics tree below `root`, which has `count` classes (400, 600,
    700) or fewer.

    Raises BuilderError if there are no videos, or if neither lists nor folders give their part and
    class.
    """
    title = f"Kinetics-{count}"
    layout = f"{title} there ({root}/train/<class>/*.mp4, {root}/train.csv, ...)"
    names, left_alone = list_files(first_folder(root, ("",), layout))
    lists = {name: part for name in names if (part := part_of_list(name, count))}
    unread = not_read(names, count)
    left_alone += unread.items()
    files = []
    for name in names:
        if name not in lists and name not in unread:
            file = _parse(name)
            if isinstance(file, _File):
                files.append(file)
            else:
                left_alone.append((name, file))
    files.sort(key=_precedence)
    if lists:
        listed = read_lists(root, lists)
        videos, again = _read_by_lists(root, files, listed)
        left_alone += again
        unread |= listed.unread
        _must_use_parts(root, names, videos, dict(left_alone), listed.rows, unread)
    else:
        homeless = [file.name for file in files if file.part and file.class_name is None]
        homeless += [name for name, reason in left_alone if reason == _NO_PLACE]
        if homeless:
            problem = f"no list of {title}, and {len(homeless)} videos are not in <part>/<class>/"
            raise _lists_needed(
                root,
                f"has {problem}, the first is {min(homeless)!r}",
                unread,
                "train.csv, val.csv, ... (or .txt)",
                "the videos into folders such as train/abseiling",
            )
        videos, again = _read_by_folders(root, files)
        left_alone += again
    if all(video.problem == "missing" for video in videos):
        others = f" ({len(left_alone)} others, {': '.join(min(left_alone))})" if left_alone else ""
        raise BuilderError(
            f"No {title} video below {root}{others}: expected "
            f"{root}/val/<class>/<id>_000010_000020.mp4 or {root}/val/<id>_000010_000020.mp4. Put "
            "them there, or name another folder with --source (make shards: SOURCE=...)."
        )
    classes = sorted({v.class_name for v in videos if v.class_name})
    if len(classes) > count:
        raise BuilderError(
            f"{root} has {len(classes)} classes, and {title} has {count}. Build the data "
            "set whose lists these are (kinetics400, kinetics600, kinetics700), or remove those "
            "of another."
        )
    if not lists and len(_whole(count).strangers(classes)) == len(classes):
        raise BuilderError(
            f"None of the {len(classes)} classes below {root} is one of {title}: "
            f"{official_counts.shown(classes)}. Name the folder of {title} with --source "
            "(make shards: SOURCE=...), or build with the data set `folder`."
        )
    remarks = _remarks(count, len(videos), classes, has_lists=bool(lists))
    return Catalog(
        f"kinetics{count}",
        root,
        tuple(videos),
        tuple(classes),
        tuple(sorted(left_alone)),
        remarks,
    )


def _whole(count: int) -> official_counts.Whole:
    size = f"{count} classes of at least {count} clips each"
    known = official_counts.kinetics(count)
    return official_counts.Whole(f"Kinetics-{count}", size, known, letters)


def _remarks(count: int, videos: int, classes: list[str], *, has_lists: bool) -> tuple[str, ...]:
    """Sentences for whoever builds the data set, on what is missing, as far as that is known."""
    remarks = []
    whole = _whole(count)
    is_known = {letters(name) for name in classes} == {letters(name) for name in whole.classes}
    if not is_known or videos < count * count:
        remarks.append(whole.shortfall(videos, classes))
    if not has_lists:
        remarks.append(
            "There is no official list, so clips that are missing are not counted: put train.csv, "
            "val.csv, ... into the folder or into annotations."
        )
    return tuple(remarks)


def _parse(name: str) -> _File | str:
    """Parse the name of a file; or return the reason why it is not a video of the data set."""
    *folders, file = name.split("/")
    if not is_video(file):
        is_list = file.lower().endswith(".csv") and len(folders) <= 1
        return _NO_LIST if is_list else NO_VIDEO_NAME
    is_replacement = bool(folders) and folders[0].lower().startswith(_REPLACEMENT)
    part = part_of(folders[0]) if len(folders) in (1, 2) and not is_replacement else None
    if part is None and not is_replacement:
        return _NO_PLACE
    match = _CLIP.fullmatch(file.rpartition(".")[0])
    clip = None
    if match:
        times = [int(match[t]) if match[t] else None for t in ("start", "end")]
        clip = ClipTimes(match["id"], *times)
    return _File(name, part, folders[1] if part and len(folders) == 2 else None, clip)


def _precedence(file: _File) -> tuple[bool, bool, str]:
    """Sort key of files: of several files of one clip, the first is used."""
    return file.part is not None, file.clip is not None and file.clip.start is None, file.name


def _read_by_lists(
    root: Path, files: list[_File], listed: Lists
) -> tuple[list[Source], list[tuple[str, str]]]:
    rows, left_alone = listed.rows, [*listed.refused, *listed.unread.items()]
    labels = {letters(row.label) for row in rows.values() if row.label}
    of_id: dict[str, list[ClipTimes]] = {}
    for clip in rows:
        of_id.setdefault(clip.youtube_id, []).append(clip)
    file_of: dict[ClipTimes, str] = {}
    for file in files:
        held = _find(file, rows, of_id, labels)
        if isinstance(held, str):
            left_alone.append((file.name, held))
        elif file_of.setdefault(held, file.name) != file.name:
            left_alone.append((file.name, f"the same clip as {file_of[held]}"))
    videos, name_of = [], _naming(files, of_id)
    for clip, row in rows.items():
        problem = None if clip in file_of else "missing"
        name = file_of.get(clip) or name_of(clip, row)
        videos.append(_source(root, name, row.label, row.part, clip.youtube_id, problem))
    return videos, left_alone


def _naming(
    files: list[_File], of_id: dict[str, list[ClipTimes]]
) -> Callable[[ClipTimes, ListedClip], str]:
    """A function that names missing clips as their files in this tree would be named, so that a
    later build recognises them. If names in the tree differ in style, the first file's is used.
    `of_id` has the clips of each YouTube video."""
    placed = [file for file in reversed(files) if file.part]
    part_folders = {file.part: file.name.partition("/")[0] for file in placed}
    flat_parts = {file.part for file in placed if not file.class_name}
    class_folders = {
        letters(file.class_name): file.class_name for file in placed if file.class_name
    }
    ending = files[0].name.rpartition(".")[2] if files else "mp4"
    style = next((_style(file) for file in files if file.clip), _PADDED)

    def name_of(clip: ClipTimes, row: ListedClip) -> str:
        folders = [part_folders.get(row.part, row.part)]
        if row.label and row.part not in flat_parts:
            folders.append(class_folders.get(letters(row.label), row.label))
        alone = len(of_id[clip.youtube_id]) == 1
        return "/".join([*folders, f"{_stem(clip, style if style or alone else _PADDED)}.{ending}"])

    return name_of


_PADDED = "06d"  # the official style: <id>_000010_000020


def _style(file: _File) -> str:
    """How a file name states the times of its clip: their format; "" if it has no times."""
    assert file.clip is not None
    if file.clip.start is None:
        return ""
    stem = file.name.rpartition("/")[2].rpartition(".")[0]
    return _PADDED if stem == _stem(file.clip, _PADDED) else "d"


def _stem(clip: ClipTimes, style: str) -> str:
    times = (f"_{clip.start:{style}}", f"_{clip.end:{style}}") if style else ()
    return "".join((clip.youtube_id, *times))


def _find(
    file: _File,
    rows: dict[ClipTimes, ListedClip],
    of_id: dict[str, list[ClipTimes]],
    labels: set[str],
) -> ClipTimes | str:
    """The listed clip that a file holds, or the reason why it holds none."""
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
    if file.part not in (row.part, None):
        return f"its folder is of {file.part}, and its list says {row.part}"
    folder = letters(file.class_name or "")
    if row.label and folder in labels and folder != letters(row.label):
        return f"its folder is {file.class_name!r}, and its list says {row.label!r}"
    return clip


def _must_use_parts(
    root: Path,
    names: list[str],
    videos: list[Source],
    reasons: dict[str, str],
    rows: dict[ClipTimes, ListedClip],
    unread: dict[str, str],
) -> None:
    """Raise BuilderError if a part's folder holds videos, but none of them is used. `reasons` says
    why files are left alone."""
    used = {video.splits["1"] for video in videos if not video.problem}
    in_part: dict[str, list[str]] = {}
    for name in names:
        if is_video(name) and "/" in name and (part := part_of(name.partition("/")[0])):
            in_part.setdefault(part, []).append(name)
    for part, unused in in_part.items():
        if part in used:
            continue
        problem = f"no list speaks of {part}"
        if any(row.part == part for row in rows.values()):
            why, often = Counter(reasons.get(name, "unused") for name in unused).most_common(1)[0]
            problem = f"none of them is a clip of its list; {often} are so: {why}"
        raise _lists_needed(
            root,
            f"holds {len(unused)} videos of {part}, the first is {unused[0]!r}, and {problem}",
            unread,
            f"{part}.csv or {part}.txt",
            "take the folder away",
        )


def _lists_needed(
    root: Path, problem: str, unread: dict[str, str], lists: str, otherwise: str
) -> BuilderError:
    hints = "".join(f"{root / name} is not read: {why}. " for name, why in unread.items())
    return BuilderError(
        f"{root} {problem}. {hints}Put the official {lists} into {root} or {root / FOLDERS[1]}, or "
        f"{otherwise}."
    )


def _read_by_folders(root: Path, files: list[_File]) -> tuple[list[Source], list[tuple[str, str]]]:
    # Replacements by id: without a list, they belong to whatever other file has that id.
    instead: dict[str, str] = {}
    for file in files:
        if file.part is None and file.clip is not None:
            instead.setdefault(file.clip.youtube_id, file.name)
    file_of: dict[ClipTimes, str] = {}
    spelling: dict[str, str] = {}
    videos, again = [], []
    for file in files:
        if file.class_name is None or file.part is None:
            continue
        class_name = spelling.setdefault(letters(file.class_name), file.class_name)
        if file.clip is None:
            problem = "name not understood"
            videos.append(_source(root, file.name, class_name, file.part, file.name, problem))
        elif file_of.setdefault(file.clip, file.name) != file.name:
            again.append((file.name, f"the same clip as {file_of[file.clip]}"))
        else:
            group, name = file.clip.youtube_id, instead.pop(file.clip.youtube_id, file.name)
            if name != file.name:
                again.append((file.name, f"the same clip as {name}"))
            videos.append(_source(root, name, class_name, file.part, group, None))
    used = {video.name for video in videos}
    again += [(f.name, _NO_PART) for f in files if f.part is None and f.name not in used]
    return videos, again


def _source(
    root: Path, name: str, class_name: str | None, part: str, group: str, problem: str | None
) -> Source:
    return Source(name, root / name, class_name, group, {"1": part}, problem=problem)
