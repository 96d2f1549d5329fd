"""TOML, whoever wrote it."""

import tomllib
from pathlib import Path
from typing import Any

LARGEST = 16 << 20  # bytes; a run's is a few thousand


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file. Raises ValueError for anything else, and OSError."""
    with path.open("rb") as file:
        content = file.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise ValueError(f"it has more than {LARGEST >> 20} MB")
    return parse_toml(content.decode("utf-8"))


def parse_toml(text: str) -> dict[str, Any]:
    """The tables of TOML text. Raises ValueError if it is none."""
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise ValueError("its lists or tables are nested too deeply") from error
