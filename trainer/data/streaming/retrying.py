"""Read remote files, reopening broken connections, and fetch the metadata of a data set."""

import shutil
import time
from contextlib import closing
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from threading import Event
from typing import Any

from builder.atomic import give_name, partial_of
from builder.errors import BuilderError
from builder.shards.manifest import DATASET_FILE, VIDEOS_FILE
from builder.shards.stored_json import parse_json
from builder.shards.validation import LARGEST_INFO, largest_videos_file
from trainer.data.streaming.transport import (
    Broken,
    Opened,
    Stopped,
    curl_says,
    is_on_server,
    is_remote,
    probe,
    shown,
    url_of,
)
from trainer.errors import TrainerError

_PIECE = 1 << 20  # bytes


@dataclass(frozen=True)
class Patience:
    """How often and how long to retry before a file is given up.

    Attributes:
        tries: number of tries in a row without a new byte
        pause: seconds before the second try, doubled before each further one
        stall: seconds without a byte after which a try counts as failed
    """

    tries: int = 8
    pause: float = 0.5
    stall: float = 60.0


AT_START = Patience(tries=4)  # few: the user is waiting for the command to start


class RetryingStream:
    """A file that is read sequentially, and reopened where the connection breaks."""

    def __init__(self, url: str, needed: int, patience: Patience, stop: Event) -> None:
        """`needed`: the file has at least so many bytes; an earlier end counts as a failure.
        `stop`: once it is set, reading soon raises Stopped."""
        self._url, self._needed, self._patience, self._stop = url, needed, patience, stop
        self._opened: Opened | None = None
        self._position, self._failures = 0, 0

    def readinto(self, view: memoryview) -> int:
        """Read into the beginning of `view`. Returns the number of bytes, 0 only at the end. Raises
        TrainerError if the file cannot be read, after several tries where that may help."""
        while True:
            try:
                got = self._read(view)
            except (Broken, OSError) as error:
                self.close()
                self._failures += 1
                lasts = isinstance(error, Broken) and error.lasts
                if lasts or self._failures >= self._patience.tries:
                    raise self._given_up(error) from error
                if self._stop.wait(self._patience.pause * 2 ** (self._failures - 1)):
                    raise Stopped from error
            else:
                self._position, self._failures = self._position + got, 0
                return got

    def _read(self, view: memoryview) -> int:
        if self._opened is None:
            self._opened = Opened(self._url, self._patience.stall, self._stop)
            past, left = memoryview(bytearray(min(self._position, _PIECE))), self._position
            while left:
                left -= self._some(self._opened, past[:left], left)
        return self._some(self._opened, view, self._needed - self._position)

    def _some(self, opened: Opened, view: memoryview, missing: int) -> int:
        got = opened.readinto(view)
        if not got:
            opened.must_have_ended_well()
            if missing > 0:
                lasts = not is_remote(self._url)
                raise Broken(f"that is its end, and {missing} bytes are missing", lasts)
        return got

    def close(self) -> None:
        """Close the file, and end the process that feeds it."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def _given_up(self, error: Exception) -> TrainerError:
        why: object = error
        if is_on_server(self._url):
            why = curl_says(self._url) or error
            step = "Check the URL, the server and the network."
        elif is_remote(self._url):
            step = "Try the command by hand: it has to write the whole file to its output."
        else:
            step = "Copy the data set again, or name another folder."
        where = f"broke off after {self._position} bytes" if self._position else "cannot be read"
        tries = f", {self._failures} times in a row" if self._failures > 1 else ""
        return TrainerError(f"{shown(self._url)} {where}{tries}: {why}. {step}")


def fetch_metadata(source: str, folder: Path, patience: Patience = AT_START) -> None:
    """Copy dataset.json and videos.jsonl of a data set to `folder`, which is created. Then
    `ShardDataset` can open it although the shards are elsewhere. Raises TrainerError if they cannot
    be read or do not match: at once for what a retry would not change, and else after several
    tries."""
    url = url_of(source, DATASET_FILE)
    if is_on_server(url):
        _must_answer(url, patience)
    folder.mkdir(parents=True, exist_ok=True)
    info, videos = folder / DATASET_FILE, folder / VIDEOS_FILE
    partial = partial_of(info)  # renamed when both files are complete
    try:
        _copy(url, partial, patience, LARGEST_INFO)
        content = _parsed_info(partial, url)
        most = largest_videos_file(content)
        digest = _copy(url_of(source, VIDEOS_FILE), videos, patience, most)
        if content["videos_jsonl_sha256"] != digest:
            raise TrainerError(
                f"{VIDEOS_FILE} beside {shown(url)} is not the one that {DATASET_FILE} was written "
                "with. Perhaps it is being built or copied: try again, or copy both again."
            )
        give_name(partial, info)
    finally:
        partial.unlink(missing_ok=True)


def _must_answer(url: str, patience: Patience) -> None:
    """Raise TrainerError if a file on a server cannot be read; gopen's curl would retry for a
    minute before it said so."""
    for number in range(patience.tries):
        if number:
            time.sleep(patience.pause * 2 ** (number - 1))
        if (broken := probe(url)) is None:
            return
        if broken.lasts:
            break
    raise TrainerError(
        f"{shown(url)} cannot be read: {broken}. Name the folder that holds {DATASET_FILE}."
    )


def _copy(url: str, path: Path, patience: Patience, most: int) -> str:
    """Copy a file and return its SHA-256. Raises TrainerError if it has more than `most` bytes, or
    more than half of the free space on the disk."""
    digest, piece, got_all = sha256(), memoryview(bytearray(_PIECE)), 0
    free = shutil.disk_usage(path.parent).free
    with path.open("wb") as file, closing(RetryingStream(url, 0, patience, Event())) as stream:
        while got := stream.readinto(piece):
            got_all += got
            if got_all > min(most, free // 2):
                raise TrainerError(_too_long(url, most, free, path.parent))
            file.write(piece[:got])
            digest.update(piece[:got])
    return digest.hexdigest()


def _too_long(url: str, most: int, free: int, folder: Path) -> str:
    if most > free // 2:
        return (
            f"{shown(url)} does not fit on the disk of {folder}, half of which it may take: "
            f"{free / 1e6:.0f} MB are free. Make room, or name another folder in TMPDIR."
        )
    return (
        f"{shown(url)} has more than {most / 1e6:.0f} MB, too much for a list of videos: reading "
        "was stopped. Name the folder of a data set, as `ascnet build` made it."
    )


def _parsed_info(path: Path, url: str) -> dict[str, Any]:
    """The contents of a dataset.json. Raises TrainerError if the file is none."""
    no_table = TrainerError(
        f"{shown(url)} does not contain what a {DATASET_FILE} does. Name the folder of a data set, "
        "as `ascnet build` made it."
    )
    try:
        info = parse_json(path, path.read_bytes())
    except BuilderError as error:
        raise no_table from error
    if not isinstance(info.get("videos_jsonl_sha256"), str):
        raise no_table
    return info
