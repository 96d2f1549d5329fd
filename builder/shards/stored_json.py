"""Parse the JSON files of a data set, which may have been changed since the build."""

import json
from pathlib import Path
from typing import Any

from builder.errors import OtherBuildError
from builder.regular_file import open_regular
from builder.shards.validation import LARGEST_INFO


def parse_json(path: Path, text: bytes) -> dict[str, Any]:
    """Parse `text`, read from `path`, as a JSON object. Raises BuilderError if it is none."""
    try:
        values = json.loads(text.decode())
    except ValueError as error:
        raise changed(path, str(error)) from error
    except RecursionError as error:
        raise changed(path, "it is nested too deeply") from error
    if not isinstance(values, dict):
        raise changed(path, "there is something else than a JSON object")
    return values


def changed(path: Path, what: str) -> OtherBuildError:
    """The error for a file that differs from what the build wrote; `what` says how."""
    return OtherBuildError(
        f"{path} was changed after it was built: {what}. Copy it again, or delete the folder and "
        "build anew."
    )


def read_json(path: Path, most: int | None = None) -> dict[str, Any]:
    """Read the JSON object in a file that a build wrote. Raises BuilderError if there is none, or
    if the file has more than `most` bytes (LARGEST_INFO)."""
    most = LARGEST_INFO if most is None else most
    with open_regular(path) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise changed(path, f"it has more than {most >> 20} MB")
    return parse_json(path, content)
