"""Pictures of the videos in a feature store, from its shards."""

from PIL import Image

from builder.errors import BuilderError
from builder.shards.dataset import ShardDataset, Video
from builder.shards.manifest import DATASET_FILE
from evaluate.errors import EvaluateError
from evaluate.features.store import Features
from evaluate.pages.facts import without_secrets
from evaluate.pages.thumbnails import Sprite, frames_of, sprite

_FRAMES, _WIDTH = 8, 160  # frames in a strip, largest width of a frame in pixels
# Errors for missing, truncated or damaged shards. Pages are made without their pictures.
UNREADABLE = (BuilderError, EvaluateError, OSError, ValueError, LookupError, TypeError)


class Pictures:
    """The shards of a store, if they still exist."""

    def __init__(self, store: Features) -> None:
        self._videos: dict[str, Video] = {}
        self._drawn: dict[tuple[int, int, int], Sprite | None] = {}
        self._store = store
        self.problem = ""  # why pictures are missing
        if store.shards is None:
            self.problem = f"The shards are streamed from {without_secrets(store.place)}, but "
            self.problem += "pictures need local shards."
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
        """A strip of frames `first` to `last` (by default, all) of the video at a position of the
        store; None if they cannot be read."""
        last = int(self._store.frames[position]) - 1 if last is None else last
        where = (position, first, last)
        if where not in self._drawn:
            frames = self.frames(where, _FRAMES, _WIDTH)
            self._drawn[where] = sprite(frames) if frames else None
        return self._drawn[where]

    def frames(self, where: tuple[int, int, int], count: int, width: int) -> list[Image.Image]:
        """Read `count` frames, scaled by `frames_of` to `width`, of a video; empty if they cannot
        be read. `where` has its position in the store, the first and the last frame."""
        position, first, last = where
        name = self._store.names[position]
        video = self._videos.get(name)
        if video is None or video.frames != self._store.frames[position]:
            how = "is not in them" if video is None else "has another number of frames"
            self.problem = self.problem or (
                f"The shards at {self._store.shards} do not match the features: {name} {how}."
            )
            return []
        try:
            return frames_of(video, first, last, count, width)
        except UNREADABLE as error:
            self.problem = self.problem or f"Some frames cannot be read. {sentence_of(error)}"
            return []


def sentence_of(error: Exception) -> str:
    """The message of one of our errors, or the type and message of another."""
    if isinstance(error, BuilderError | EvaluateError):
        return str(error)
    return f"({type(error).__name__}: {error}.)"


def as_stored(name: str) -> str:
    """Escape a name that is not UTF-8, as stores do."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")
