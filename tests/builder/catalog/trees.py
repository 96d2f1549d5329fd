"""Make trees of empty files in place of videos, and inspect catalogs."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from builder.catalog.source import Catalog, Source
from builder.errors import BuilderError

NFC, NFD = "caf\u00e9", "cafe\u0301"  # two spellings that look the same


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def write(path: Path, lines: Sequence[str], end: str = "\n") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("".join(line + end for line in lines).encode())


def refusal(read: Callable[..., Catalog], *arguments: object) -> str:
    """The message of the BuilderError that a reader raises."""
    with pytest.raises(BuilderError) as caught:
        read(*arguments)
    return str(caught.value)


def there(catalog: Catalog) -> list[Source]:
    """The videos of a catalog that have no problem."""
    return [video for video in catalog.videos if video.problem is None]


def parts_of_groups(catalog: Catalog) -> dict[str, str]:
    """{group: its part in split 1}; asserts that no group is in two parts."""
    parts: dict[str, set[str]] = {}
    for video in catalog.videos:
        parts.setdefault(video.group, set()).add(video.splits["1"])
    assert all(len(part) == 1 for part in parts.values())
    return {group: part.pop() for group, part in parts.items()}
