"""One file a data set: where its videos, labels, splits and source groups come from."""

from collections.abc import Callable
from pathlib import Path

from builder.catalog import folder, shapes, ucf101
from builder.catalog.source import Catalog

READERS: dict[str, Callable[[Path], Catalog]] = {
    "folder": folder.read,
    "shapes": shapes.read,
    "ucf101": ucf101.read,
}
