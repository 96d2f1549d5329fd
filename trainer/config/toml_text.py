"""Parse TOML from untrusted sources."""

import tomllib
from pathlib import Path
from typing import Any

LARGEST = 16 << 20  # bytes; a run's config.toml has a few thousand


def read_toml(path: Path) -> dict[str, Any]:
    """Parse a TOML file. Raises ValueError if it is no TOML or too large, and OSError if it cannot
    be read."""
    with path.open("rb") as file:
        content = file.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise ValueError(f"it has more than {LARGEST >> 20} MB")
    return parse_toml(content.decode("utf-8"))


def parse_toml(text: str) -> dict[str, Any]:
    """Parse TOML text. Raises ValueError if it is no TOML."""
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise ValueError("its lists or tables are nested too deeply") from error
