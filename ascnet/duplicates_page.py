"""The page of `ascnet near-duplicates --html`: collect facts about the videos' files, and write
it."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from ascnet import groups_table
from ascnet.progress import ProgressBar
from ascnet.source_files import is_present
from builder.atomic import write_atomically
from builder.catalog.spreadsheet_cells import line, written
from builder.decode.picture_size import picture_size
from builder.decode.processes import Children
from builder.errors import BuilderError
from builder.shards.dataset import ShardDataset
from evaluate.features.store import Features
from evaluate.pages.duplicates import SourceFile, Wording, duplicates_page
from evaluate.pages.pictures import UNREADABLE, as_stored
from evaluate.search.copies import CopyGroup


def write_page(
    out: Path, store: Features, groups: Sequence[CopyGroup], show: int, source: Path | None
) -> str:
    """Write the page with the first `show` of the groups. Returns a line about it. `source` is the
    folder of the videos, whose files are examined."""
    shown = groups[:show]
    videos = sorted({video for group in shown for video in group.videos})
    files = known_files(store, videos, source)
    command = ""
    if groups_table.has_own_groups(store):
        place = "VIDEOS" if source is None else str(source)
        command = "\n".join(
            text.strip()
            for text in groups_table.build_command(store, place, "--without", "decisions.csv")
        )
    wording = Wording(_summary(store, groups), len(groups), command)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, duplicates_page(store, shown, files, wording))
    text = f"{out}: {len(shown)} of {len(groups)} groups"
    return text + (" (--show N shows more)" if len(shown) < len(groups) else "")


def must_have_videos(source: Path, store: Features) -> None:
    """Raise BuilderError if no video of the store is in the folder `source`."""
    if not any(is_present(source / name) for name in store.names):
        raise BuilderError(
            f"None of the {len(store.names)} videos is below {source}; the first would be "
            f"{source / store.names[0]}. Name the folder of the videos with --source, or omit it."
        )


def known_files(
    store: Features, videos: Iterable[int], source: Path | None
) -> dict[int, SourceFile]:
    """Facts about the files of some videos, from the shards and from the files below `source`."""
    files = {video: SourceFile(_cell(store.names[video])) for video in videos}
    at = {store.names[video]: video for video in files}
    for name, stored in _in_shards(store).items():
        if name in at:
            files[at[name]] = replace(stored, cell=files[at[name]].cell)
    if source is None or not files:
        return files
    there = {v: p for v in files if is_present(p := source / store.names[v])}
    with Children() as children, ProgressBar("examining files", "files") as progress:
        for done, (video, path) in enumerate(there.items(), start=1):
            size = picture_size(path, children)
            files[video] = replace(files[video], bytes=path.stat().st_size, size=size)
            progress(done, len(there), "")
    return files


def _cell(name: str) -> str:
    return line([written(name)])[:-1]


def _in_shards(store: Features) -> dict[str, SourceFile]:
    """Facts from the rows of the data set; none if it is missing, streamed or damaged."""
    if store.shards is None:
        return {}
    try:
        return {
            as_stored(row.name): SourceFile(
                "", row.source_bytes, row.source_duration, stored=(row.width, row.height)
            )
            for row in ShardDataset(store.shards).rows()
            if row.width and row.height
        }
    except UNREADABLE:
        return {}


def _summary(store: Features, groups: Sequence[CopyGroup]) -> str:
    videos = sum(len(group.videos) for group in groups)
    return (
        f"{videos} of {len(store.names)} videos have a near-duplicate among the others, in "
        f"{len(groups)} group{'s' * (len(groups) != 1)}."
    )
