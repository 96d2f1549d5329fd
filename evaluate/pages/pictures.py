"""Pictures of the videos of a feature store, from the shards that it was made of."""

from PIL import Image

from builder.errors import BuilderError
from builder.shards.dataset import ShardDataset, Video
from builder.shards.manifest import DATASET_FILE
from evaluate.errors import EvaluateError
from evaluate.features.store import Features
from evaluate.pages.facts import without_secrets
from evaluate.pages.thumbnails import Sprite, frames_of, sprite

_FRAMES, _WIDTH = 8, 160  # of a strip, and pixels of a frame at most
# What reading shards raises that are gone, cut or damaged. A page does without them.
UNREADABLE = (BuilderError, EvaluateError, OSError, ValueError, LookupError, TypeError)


class Pictures:
    """The videos of a store in its shards, if they are still there."""

    def __init__(self, store: Features) -> None:
        self._videos: dict[str, Video] = {}
        self._drawn: dict[tuple[int, int, int], Sprite | None] = {}
        self._store = store
        self.problem = ""  # why there are no pictures, or not all of them
        if store.shards is None:
            self.problem = f"The shards are streamed from {without_secrets(store.place)}, and "
            self.problem += "pictures are made of local ones."
            return
        try:
            self._videos = {as_stored(v.name): v for v in ShardDataset(store.shards).videos}
        except UNREADABLE as error:
            self.problem = (
                f"The shards at {store.shards} cannot be read. {sentence_of(error)}"
                if (store.shards / DATASET_FILE).is_file()
                else f"The shards are no longer at {store.shards}. Put them back there and make "
                "this page again."
            )

    def draw(self, position: int, first: int = 0, last: int | None = None) -> Sprite | None:
        """A strip of frames `first` to `last` (all of them if it is not given) of the video at a
        position of the store; None if they cannot be read."""
        last = int(self._store.frames[position]) - 1 if last is None else last
        where = (position, first, last)
        if where not in self._drawn:
            frames = self.frames(where, _FRAMES, _WIDTH)
            self._drawn[where] = sprite(frames) if frames else None
        return self._drawn[where]

    def frames(self, where: tuple[int, int, int], count: int, width: int) -> list[Image.Image]:
        """`count` frames, scaled as `frames_of` does, of the video at a position of the store;
        none if they cannot be read. `where`: the position, the first and the last frame."""
        position, first, last = where
        name = self._store.names[position]
        video = self._videos.get(name)
        if video is None or video.frames != self._store.frames[position]:
            how = "is not in them" if video is None else "has another number of frames"
            self.problem = self.problem or (
                f"The shards at {self._store.shards} are not those of the features: {name} {how}."
            )
            return []
        try:
            return frames_of(video, first, last, count, width)
        except UNREADABLE as error:
            self.problem = self.problem or f"Some pictures cannot be read. {sentence_of(error)}"
            return []


def sentence_of(error: Exception) -> str:
    """An error as a sentence: ours are sentences, others say little without their kind."""
    if isinstance(error, BuilderError | EvaluateError):
        return str(error)
    return f"({type(error).__name__}: {error}.)"


def as_stored(name: str) -> str:
    """A store keeps names that are no UTF-8 in escapes."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")
