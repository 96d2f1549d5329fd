"""Queries and what was found for them, as clips that play."""

from dataclasses import dataclass

import numpy as np

from builder.shard import BuilderError, ShardDataset, Video
from evaluate.errors import EvaluateError
from evaluate.pages.found import Found, is_right, thin
from evaluate.pages.template import seconds
from evaluate.pages.thumbnails import Sprite, sprite
from evaluate.store import Features

_WIDTH = 160  # pixels of a thumbnail


@dataclass(frozen=True)
class Clip:
    """A video on the page."""

    name: str
    class_name: str  # "": unlabelled
    time: str  # what of it is shown
    sprite: Sprite | None
    right: bool | None  # None: the query itself, or a label is unknown

    @property
    def short(self) -> str:
        """Its name without the folder, which is often the class."""
        return self.name.rsplit("/", 1)[-1]

    @property
    def words(self) -> str:
        """For who cannot see the picture."""
        return f"Frames of {self.name}, {self.time}"


@dataclass(frozen=True)
class Query:
    clip: Clip
    found: list[Clip]

    @property
    def words(self) -> str:
        of = f" of class {self.clip.class_name}" if self.clip.class_name else ""
        known = [clip.right for clip in self.found if clip.right is not None]
        score = f": {sum(known)} of {len(known)} found are right" if known else ""
        return f"Query {self.clip.name}{of}{score}"


class Pictures:
    """The videos of a store in its shards, if they are still there."""

    def __init__(self, store: Features) -> None:
        self._videos: dict[str, Video] = {}
        self._drawn: dict[int, Sprite | None] = {}
        self._store = store
        self.problem = ""  # why there are no pictures, or not all of them
        try:
            for video in ShardDataset(store.shards).videos:
                self._videos[_as_stored(video.name)] = video
        except (BuilderError, OSError):
            self.problem = (
                f"The shards are no longer at {store.shards}, so there are names without pictures. "
                "Put them back there and make this page again."
            )

    def draw(self, position: int) -> Sprite | None:
        """A strip of the whole video at a position of the store; None if that cannot be read."""
        if position not in self._drawn:
            self._drawn[position] = self._draw(self._store.names[position])
        return self._drawn[position]

    def _draw(self, name: str) -> Sprite | None:
        video = self._videos.get(name)
        if video is None:
            self.problem = self.problem or (
                f"The shards at {self._store.shards} are not those of the features: {name} is not "
                "in them."
            )
            return None
        try:
            return sprite(video, 0, video.frames - 1, width=_WIDTH)
        except (BuilderError, EvaluateError, OSError, ValueError) as error:
            self.problem = self.problem or f"Some pictures cannot be read. {error}"
            return None


def _as_stored(name: str) -> str:
    """A store keeps names that are no UTF-8 in escapes."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def choose(store: Features, found: Found, wanted: int, pictures: Pictures) -> list[Query]:
    """`wanted` queries, evenly spaced in the order of their classes: not picked by how well they
    did."""
    order = np.argsort(store.labels[found.queries], kind="stable")
    return [
        Query(
            _clip(store, pictures, int(query), None),
            [
                _clip(store, pictures, int(other), is_right(store, int(query), int(other)))
                for other in found.nearest[row]
                if other >= 0
            ],
        )
        for row in thin(order, wanted)
        for query in [found.queries[row]]
    ]


def _clip(store: Features, pictures: Pictures, position: int, right: bool | None) -> Clip:
    frames, fps = int(store.frames[position]), float(store.fps[position])
    timed = frames > 1 and not np.isnan(fps)
    time = f"0 – {seconds(frames / fps)}" if timed else f"{frames} frame{'s' * (frames != 1)}"
    name, kind = store.names[position], store.class_of[position]
    return Clip(name, kind, time, pictures.draw(position), right)
