"""The fetch of a toy data set, as the main function of a process; it loads little."""

import os
import sys
from pathlib import Path

from builder.download import official
from builder.download.fetch import FetchSettings, fetch
from builder.download.http import DownloadSettings
from builder.errors import AscnetError


def fetching(url: str, folder: Path, programs: Path) -> None:
    """Fetch the toy UCF-101 of four videos from a server, as the command does."""
    official.PUBLISHED.clear()  # checksums of the official archives
    os.environ["PATH"] = f"{programs}:{os.environ['PATH']}"
    settings = FetchSettings(url, download=DownloadSettings(tries=2, pause=0.001))
    try:
        fetch(official.UCF101, folder, settings, ())
    except AscnetError as error:
        sys.exit(f"Error: {error}")
