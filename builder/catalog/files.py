"""List the files of a data set below a folder, and read its lists."""

import csv
import io
import os
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from builder.catalog import spreadsheet_cells
from builder.errors import BuilderError
from builder.regular_file import open_regular
from builder.system_errors import sentence

LARGEST_LIST = 1 << 27  # bytes; the list of Kinetics-700 has a fifth of this
MOST_LINES = 4_000_000  # "\r\n" counts twice; the list of Kinetics-700 has half a million
_TWO_LISTS = "no list has so many: see what it is, or build its videos in parts."
NO_VIDEO_NAME = "its name has no video's ending"
HIDDEN = "hidden: its name starts with a dot"
_OURS = (".fetch", ".lock")  # `ascnet fetch` leaves them beside the videos
SYSTEM = "a folder of the file system or of its tools, not of yours"
_SYSTEM_FOLDERS = (
    "lost+found",
    "$RECYCLE.BIN",
    "System Volume Information",
    "#recycle",
    "@eaDir",
)
NO_FILE = "neither a file nor a folder, or a link to nothing"


def first_folder(root: Path, names: Iterable[str], layout: str) -> Path:
    """The first of the folders `names` below `root` ("": `root` itself) that exists. Raises
    BuilderError, with the expected `layout`, if none does."""
    for name in names:
        if (root / name).is_dir():
            return root / name
    raise BuilderError(
        f"{not_a_folder(root)} Put {layout}, or name its folder with --source (make shards: "
        "SOURCE=...)."
    )


def not_a_folder(path: Path) -> str:
    """A sentence about a path that should be a folder."""
    return f"{path} is a file, not a folder." if path.exists() else f"There is no folder {path}."


def list_files(root: Path) -> tuple[list[str], list[tuple[str, str]]]:
    """Sorted names of all files below `root`, and of everything that is skipped, with the reason.

    Every folder is read once: at its real place if that is below `root`, else through the link to
    it with the fewest folders above. Raises BuilderError if `root` itself cannot be listed.
    """
    names: list[str] = []
    left_alone: list[tuple[str, str]] = []
    read_as: dict[str, str] = {}  # real path of a folder -> its name below `root`
    waiting: list[str] = [""]
    links: list[str] = []
    while waiting or links:
        folder = waiting.pop() if waiting else links.pop()
        real = os.path.realpath(root / folder)
        if real in read_as:
            left_alone.append((folder, same_folder(read_as[real])))
            continue
        try:
            entries = _entries(root / folder)
        except OSError as error:
            if not folder:
                raise BuilderError(
                    f"Cannot list {root}: {error.strerror}. Make it readable, or name another "
                    "folder with --source (make shards: SOURCE=...)."
                ) from error
            left_alone.append((folder, f"cannot be listed: {error.strerror}"))
            continue
        read_as[real] = folder
        inner = []
        for entry in entries:
            name = folder + entry.name
            kind = _kind(entry)
            if kind == "file":
                names.append(name)
            elif kind != "folder":
                left_alone.append((f"{name}/" if kind == SYSTEM else name, kind))
            elif entry.is_symlink():
                links.append(name + "/")
            else:
                inner.append(name + "/")
        waiting += sorted(inner, reverse=True)
        links.sort(key=lambda name: (name.count("/"), name), reverse=True)
    return sorted(names), sorted(left_alone)


def same_folder(name: str) -> str:
    """The reason why a folder is not read a second time."""
    return f"the same folder as {name}, which is read" if name else "the source folder itself"


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return [entry for entry in entries if entry.name not in _OURS]


def _kind(entry: os.DirEntry[str]) -> str:
    """ "file", "folder", or the reason why it is neither. Only links cost a system call."""
    if entry.name.startswith("."):
        return HIDDEN
    try:
        if entry.name in _SYSTEM_FOLDERS and entry.is_dir():
            return SYSTEM
        return "folder" if entry.is_dir() else "file" if entry.is_file() else NO_FILE
    except OSError:  # a link to itself
        return NO_FILE


def normal(name: str) -> str:
    """Normalise a name to Unicode's NFC, so that names that look alike are equal. (macOS writes
    NFD.)"""
    return unicodedata.normalize("NFC", name)


def find_names(listed: Iterable[str], present: Iterable[str], source: Path) -> dict[str, str]:
    """Match listed names to present ones: {listed: present}. A name matches itself, or else the
    one present name that is equal after Unicode normalisation. Raises BuilderError, naming the list
    `source`, if the match is not one to one."""
    listed, present = set(listed), set(present)
    spelt = {name: name for name in listed & present}
    looks: dict[str, list[str]] = {}
    for name in present - listed:
        looks.setdefault(normal(name), []).append(name)
    taken: dict[str, str] = {}
    for name in sorted(listed - present):
        same = looks.get(normal(name), [])
        if len(same) > 1:
            raise BuilderError(
                f"{source} names {name!a}, and {len(same)} files look like it: "
                f"{', '.join(map(ascii, sorted(same)))}. Write it as one of them is written."
            )
        for there in same:
            if there in taken:
                raise BuilderError(
                    f"{source} names one file twice, as {taken[there]!a} and as {name!a}, which "
                    "look the same; leave one."
                )
            taken[there], spelt[name] = name, there
    return spelt


def read_text(path: Path) -> str:
    """Read a list, which must be in UTF-8 (a byte order mark is dropped). Raises BuilderError if it
    is not, cannot be read, or is larger than any list should be."""
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size  # 0 in /proc, where reading might never end
            content = file.read(LARGEST_LIST + 1) if size else b""
        if max(size, len(content)) > LARGEST_LIST:
            raise BuilderError(f"{path} has more than {LARGEST_LIST >> 20} MiB; {_TWO_LISTS}")
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BuilderError(f"{path} is not in UTF-8 (byte {error.start}); save it so.") from error
    except OSError as error:
        error.filename = error.filename or str(path)
        raise BuilderError(f"Cannot read {sentence(error)}") from error
    if text.count("\n") + text.count("\r") > MOST_LINES:
        raise BuilderError(f"{path} has more than {MOST_LINES} lines; {_TWO_LISTS}")
    return text


def read_csv(
    path: Path, needed: tuple[str, ...], optional: tuple[str, ...], separator: str = ","
) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """Columns of a CSV file, and its rows with their line numbers; blank lines are skipped.

    Raises BuilderError if a needed column is absent, a column occurs twice, or a row has another
    number of cells than the header.
    """
    reader = csv.reader(io.StringIO(read_text(path), newline=""), delimiter=separator)
    rows = []
    try:
        columns = next(reader, [])
        if not set(needed) <= set(columns) or len(set(columns)) < len(columns):
            raise BuilderError(
                f"{path} has the columns {', '.join(columns) or '(none)'}; it needs "
                f"{','.join(needed)} and may have {','.join(optional)}, each once, in any order."
            )
        for cells in reader:
            if any(cells):
                if len(cells) != len(columns):
                    raise BuilderError(
                        f"{path}, line {reader.line_num}: {len(cells)} cells, and the head has "
                        f"{len(columns)}. Mend the row; a cell with a comma needs quotes."
                    )
                names = map(spreadsheet_cells.read, cells)
                rows.append((reader.line_num, dict(zip(columns, names, strict=True))))
    except csv.Error as error:
        raise BuilderError(f"{path}, line {reader.line_num}, is no CSV: {error}.") from error
    return columns, rows
