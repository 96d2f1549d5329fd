"""Queries and their nearest videos, as playing clips."""

from dataclasses import dataclass

import numpy as np

from evaluate.features.store import Features
from evaluate.pages.nearest_videos import NearestVideos, is_right, thin
from evaluate.pages.pictures import Pictures
from evaluate.pages.template import seconds
from evaluate.pages.thumbnails import Sprite


@dataclass(frozen=True)
class GalleryClip:
    """A video on the page.

    Attributes:
        class_name: "": unlabelled
        time: the part of it that is shown
        right: whether it has the query's class; None: it is the query, or a label is unknown
    """

    name: str
    class_name: str
    time: str
    sprite: Sprite | None
    right: bool | None

    @property
    def short(self) -> str:
        """Its name without the folder, which is often the class."""
        return self.name.rsplit("/", 1)[-1]

    @property
    def words(self) -> str:
        """Alternative text of the picture."""
        return f"Frames of {self.name}, {self.time}"


@dataclass(frozen=True)
class Query:
    """A query and its nearest videos."""

    clip: GalleryClip
    found: list[GalleryClip]

    @property
    def words(self) -> str:
        of = f" of class {self.clip.class_name}" if self.clip.class_name else ""
        known = [clip.right for clip in self.found if clip.right is not None]
        score = f": {sum(known)} of {len(known)} found are right" if known else ""
        return f"Query {self.clip.name}{of}{score}"


def choose(store: Features, nearest: NearestVideos, wanted: int, pictures: Pictures) -> list[Query]:
    """Choose `wanted` queries, evenly spaced in the order of their classes, regardless of their
    results."""
    order = np.argsort(store.labels[nearest.queries], kind="stable")
    return [
        Query(
            _clip(store, pictures, int(query), None),
            [
                _clip(store, pictures, int(other), is_right(store, int(query), int(other)))
                for other in nearest.nearest[row]
                if other >= 0
            ],
        )
        for row in thin(order, wanted)
        for query in [nearest.queries[row]]
    ]


def _clip(store: Features, pictures: Pictures, position: int, right: bool | None) -> GalleryClip:
    frames, duration = int(store.frames[position]), float(store.duration[position])
    timed = frames > 1 and not np.isnan(duration)
    time = f"0 – {seconds(duration)}" if timed else f"{frames} frame{'s' * (frames != 1)}"
    name, kind = store.names[position], store.class_of[position]
    return GalleryClip(name, kind, time, pictures.draw(position), right)
