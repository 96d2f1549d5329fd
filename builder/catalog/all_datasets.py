"""The readers of all data sets, by name."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from builder.catalog import folder, hmdb51, kinetics, shapes, table, ucf101
from builder.catalog.source import Catalog

READERS: dict[str, Callable[[Path], Catalog]] = {
    "csv": table.read,
    "folder": folder.read,
    "hmdb51": hmdb51.read,
    "kinetics400": partial(kinetics.read, count=400),
    "kinetics600": partial(kinetics.read, count=600),
    "kinetics700": partial(kinetics.read, count=700),
    "shapes": shapes.read,
    "ucf101": ucf101.read,
}
