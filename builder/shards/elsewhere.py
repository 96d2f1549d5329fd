"""What is in a place that holds no finished data set, and the command that fits it."""

import os
from itertools import islice
from pathlib import Path

from builder.command_line import command_line, quoted
from builder.printable import printable
from builder.shards.manifest import DATASET_FILE, NOTES
from builder.video_name import is_video

_LOOKED_AT = 2000  # files and folders
_GO_ON = "Give the same `ascnet build` command again, and it goes on."
_BUILD = "Build some first, for example with `ascnet build shapes`."


def is_unfinished(folder: Path) -> bool:
    """Whether a build of a data set began in a folder, and has not ended."""
    has_parts = (folder / NOTES).is_dir() or any(folder.glob(f"*-{6 * '[0-9]'}.tar"))
    return has_parts and not (folder / DATASET_FILE).is_file()


def unfinished_in(folder: Path) -> list[Path]:
    """The unfinished builds in a folder of several data sets, or that folder itself."""
    return [path for path in (folder, *sorted(folder.glob("*/"))) if is_unfinished(path)]


def unfinished_text(folder: Path) -> str:
    """About builds in a folder that are not finished; "" if there are none."""
    if not (unfinished := unfinished_in(folder)):
        return ""
    names = ", ".join(printable(str(path)) for path in unfinished)
    return f"the build of {names} is not finished. {_GO_ON}"


def no_shards(folder: Path) -> str:
    """Why nothing can be read from a place, and what to do."""
    return f"No shards in {printable(str(folder))}: {_why(folder)}"


def _why(folder: Path) -> str:
    if not folder.is_dir():
        return _of_file(folder) if folder.exists() else f"there is no such folder. {_BUILD}"
    if is_unfinished(folder):
        return f"its build is not finished. {_GO_ON}"
    if text := unfinished_text(folder):
        return text
    deeper = sorted(path.parent for path in folder.glob(f"*/*/{DATASET_FILE}"))
    if deeper:
        holders = dict.fromkeys(printable(str(path.parent)) for path in deeper)
        return f"they are one folder further down. Name {' or '.join(holders)}."
    if _holds_videos(folder):
        return (
            "it holds videos, and shards are built of them: "
            f"`{command_line('ascnet', 'build', 'folder', '--source', folder)}`."
        )
    return f"neither {folder / DATASET_FILE} nor one in a folder below. {_BUILD}"


def _of_file(file: Path) -> str:
    if file.suffix == ".tar":
        return f"it is one shard. Name its folder, {quoted(file.parent)}."
    if is_video(file.name):
        build = command_line("ascnet", "build", "folder", "--source", file.parent)
        return f"it is a video, and shards are built of a folder of videos: `{build}`."
    return f"it is a file. Name the folder of a data set, or of several. {_BUILD}"


def _holds_videos(folder: Path) -> bool:
    """Whether a video is among the first of what lies below a folder."""
    names = (name for _, _, files in os.walk(folder) for name in files or [""])
    return any(is_video(name) for name in islice(names, _LOOKED_AT))
