"""Draw queries and their nearest gallery videos."""

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from builder.shards.dataset import Video, read_frames, read_offsets
from builder.shards.jpeg import open_frame

_CELL_WIDTH, _CELL_HEIGHT, _LINE = 160, 120, 16  # pixels
_RIGHT, _WRONG, _QUERY = "#2a9d4a", "#c0392b", "#444444"


@dataclass(frozen=True)
class GridVideo:
    """A video, and the name of its class or of the factor that replaces it."""

    video: Video
    label: str


def retrieval_grid(rows: Sequence[tuple[GridVideo, Sequence[GridVideo]]]) -> Image.Image:
    """Draw a row for each query: the query, then its nearest gallery videos, best first, with a
    green border if the label is right and a red one if it is wrong. Raises OSError, ValueError or
    BuilderError if a frame cannot be read."""
    columns = 1 + max(len(neighbours) for _, neighbours in rows)
    size = (columns * _CELL_WIDTH, len(rows) * (_CELL_HEIGHT + _LINE))
    sheet = Image.new("RGB", size, "white")
    for y, (query, neighbours) in enumerate(rows):
        for x, shown in enumerate([query, *neighbours]):
            right = shown.label == query.label
            colour = _QUERY if x == 0 else _RIGHT if right else _WRONG
            sheet.paste(_cell(shown, colour), (x * _CELL_WIDTH, y * (_CELL_HEIGHT + _LINE)))
    return sheet


def _cell(shown: GridVideo, colour: str) -> Image.Image:
    video = shown.video
    jpeg = read_frames(video, read_offsets(video), [video.frames // 2])[0]
    picture = open_frame(video, video.frames // 2, jpeg)
    picture.thumbnail((_CELL_WIDTH - 10, _CELL_HEIGHT - 10))
    cell = Image.new("RGB", (_CELL_WIDTH, _CELL_HEIGHT + _LINE), "white")
    pen = ImageDraw.Draw(cell)
    pen.rectangle((2, 2, _CELL_WIDTH - 3, _CELL_HEIGHT - 3), fill=colour)
    place = ((_CELL_WIDTH - picture.width) // 2, (_CELL_HEIGHT - picture.height) // 2)
    cell.paste(picture, place)
    pen.text((5, _CELL_HEIGHT), shown.label.encode("ascii", "replace").decode()[:25], fill=colour)
    return cell
