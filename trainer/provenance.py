"""Which code and which data a number comes from."""

import subprocess
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from builder.shard import DATASET_FILE


def code() -> str:
    """Version of ascnet, with the git commit where the source is a checkout: "0.1.0+1a2b3c4"."""
    try:
        number = version("ascnet")
    except PackageNotFoundError:
        number = "unknown"
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:  # no git
        return number
    return f"{number}+{said.stdout.strip()}" if said.returncode == 0 else number


def fingerprint(folder: Path) -> str:
    """sha256 of a data set's `dataset.json`, which holds those of all its shards."""
    return sha256((folder / DATASET_FILE).read_bytes()).hexdigest()
