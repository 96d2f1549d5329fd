"""Data sets that a command is given: in folders, or streamed from a server or a command."""

from pathlib import Path

from builder.shards.dataset import ShardDataset, find_datasets
from builder.shards.elsewhere import unfinished_text
from trainer.data.streaming.retrying import fetch_metadata
from trainer.data.streaming.transport import is_remote, shown


def datasets_at(place: str | Path, scratch: Path) -> list[ShardDataset]:
    """The data set in a folder, or those directly below it; or the one at a URL or `pipe:` command,
    of which only the metadata are copied, to `scratch`. Raises BuilderError or TrainerError if
    there is none."""
    if not is_remote(str(place)):
        return [ShardDataset(folder) for folder in find_datasets(Path(place))]
    folder = scratch / "streamed"
    fetch_metadata(str(place), folder)
    return [ShardDataset(folder, str(place))]


def left_out(place: str | Path) -> str:
    """A sentence about unfinished builds in a folder of data sets; "" if there are none."""
    return "" if is_remote(str(place)) else unfinished_text(Path(place))


def where(dataset: ShardDataset) -> str:
    """The location of a data set, for messages."""
    return shown(dataset.source) or str(dataset.folder)
