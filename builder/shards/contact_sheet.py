"""A contact sheet: one video's frames at a glance."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from builder.decode.frames import REASONS
from builder.errors import BuilderError, BuilderUsageError
from builder.printable import printable
from builder.shards.dataset import ShardDataset, Video, read_frames, read_offsets
from builder.shards.jpeg import open_frame
from builder.shards.manifest import VIDEOS_FILE
from builder.shards.video_row import BUILT, VideoRow

_SMALLEST, _LARGEST = 128, 256  # pixels of a frame's long side on the sheet
_HEADER_WIDTH = 560  # pixels; minimum width of a sheet
_MARGIN, _GAP = 12, 6  # pixels
_TITLE, _TEXT = 20, 14  # pixels
_BACK, _INK, _PALE = "white", "#222222", "#666666"


def find_video(dataset: ShardDataset, wanted: str) -> Video:
    """Find a built video by its name, or else by its key.

    Raises BuilderError if there is none, or if the video failed to build, with the reason.
    """
    key = int(wanted) if wanted.isdecimal() else None
    by_key = alike = None
    for row in dataset.rows():
        if row.name == wanted:
            return _built(dataset, row)
        if key is not None and row.key == key:
            by_key = row
        if alike is None and wanted.lower() in row.name.lower():
            alike = row
    if by_key:
        return _built(dataset, by_key)
    last = dataset.counts["expected"] - 1
    hint = f"such as {alike.name!r}" if alike and key is None else f"as {VIDEOS_FILE} lists them"
    raise BuilderUsageError(
        f"No video {wanted!r} in {dataset.folder}. Allowed are the keys 0 to {last} and the full "
        f"names, {hint}."
    )


def _built(dataset: ShardDataset, row: VideoRow) -> Video:
    if row.status == BUILT:
        return next(video for video in dataset.videos if video.location.key == row.key)
    reason = str(row.reason)
    meaning = [word for word in (REASONS.get(reason), printable(row.detail)) if word]
    raise BuilderError(
        f"{printable(row.name)} is not in the shards: {reason}"
        + (f" ({'; '.join(meaning)})" if meaning else "")
        + f". Name a video that is built; {dataset.folder / VIDEOS_FILE} has all of them."
    )


def evenly_spaced(frames: int, wanted: int) -> list[int]:
    """Up to `wanted` distinct, evenly spaced frame numbers of 0 .. frames - 1; if two or more,
    they include the first and the last."""
    if frames <= wanted:
        return list(range(frames))
    if wanted == 1:
        return [frames // 2]
    return [round(i * (frames - 1) / (wanted - 1)) for i in range(wanted)]


def draw_sheet(video: Video, frames: int) -> Image.Image:
    """Draw up to `frames` evenly spaced frames, each with its number and its time, below a header
    with the video's facts. Returns an RGB image.

    Raises BuilderError if the shard is damaged.
    """
    numbers = evenly_spaced(video.frames, frames)
    captions = [_caption(number, video.fps, video.times) for number in numbers]
    title, text = _font(_TITLE), _font(_TEXT)
    grid = _grid(video, captions, text)
    width = 2 * _MARGIN + max(_HEADER_WIDTH, grid.columns * (grid.width + _GAP) - _GAP)
    header = [(printable(video.name), title, _INK)]
    header += [(line, text, _PALE) for line in _facts(video)]
    top = _MARGIN + sum(_height(font) for _, font, _ in header) + _MARGIN
    rows = -(-len(numbers) // grid.columns)
    sheet = Image.new("RGB", (width, top + rows * (grid.height + _GAP) + _MARGIN - _GAP), _BACK)
    pen = ImageDraw.Draw(sheet)
    y = _MARGIN
    for line, font, colour in header:
        pen.text((_MARGIN, y), _shortened(line, font, width - 2 * _MARGIN), fill=colour, font=font)
        y += _height(font)
    pictures = _pictures(video, numbers, grid)
    for i, (picture, caption) in enumerate(zip(pictures, captions, strict=True)):
        x = _MARGIN + i % grid.columns * (grid.width + _GAP)
        y = top + i // grid.columns * (grid.height + _GAP)
        sheet.paste(picture, (x, y))
        pen.text((x, y + grid.picture[1] + 2), caption, fill=_INK, font=text)
    return sheet


@dataclass(frozen=True)
class _Grid:
    columns: int
    width: int  # pixels of a cell
    height: int  # pixels of a cell, its caption included
    picture: tuple[int, int]  # width and height in pixels of a frame on the sheet
    filter: Image.Resampling


def _grid(video: Video, captions: list[str], font: ImageFont.ImageFont) -> _Grid:
    """Layout of the sheet. Small frames are enlarged by repeating pixels, large ones reduced."""
    long_side = max(video.width, video.height)
    scale = float(max(1, _SMALLEST // long_side))
    if long_side > _LARGEST:
        scale = _LARGEST / long_side
    size = max(1, round(scale * video.width)), max(1, round(scale * video.height))
    width = max(size[0], *(round(font.getlength(c)) for c in captions))
    height = size[1] + 2 + _height(font)
    columns = _columns(len(captions), height / width)
    fitting = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS
    return _Grid(columns, width, height, size, fitting)


def _columns(cells: int, height: float) -> int:
    """Number of columns for cells that are `height` times as high as wide: the sheet gets about
    the 4:3 aspect of a screen, and its last row is as full as possible."""
    ideal = min(max(round((cells * height * 4 / 3) ** 0.5), 1), cells)
    near = range(max(ideal - 2, 1), min(ideal + 2, cells) + 1)
    return min(near, key=lambda columns: (-cells % columns, abs(columns - ideal), -columns))


def _pictures(video: Video, numbers: list[int], grid: _Grid) -> Iterator[Image.Image]:
    """Yield the frames, scaled for the sheet, one at a time: at full size, all of them together
    might not fit into memory."""
    offsets = read_offsets(video)
    for number in numbers:
        jpeg = read_frames(video, offsets, [number])[0]
        yield open_frame(video, number, jpeg).resize(grid.picture, grid.filter)


def _facts(video: Video) -> list[str]:
    """Lines of the header below the video's name."""
    splits = ", ".join(f"{split} {part}" for split, part in video.splits.items()) or "none"
    rate = f"{video.fps:g} frames a second" if video.fps else "frame rate unknown"
    rate += " on average" if video.times else ""
    lasts = f", {_time(video.duration)}" if video.duration else ""
    count = "1 frame" if video.frames == 1 else f"{video.frames} frames"
    return [
        printable(f"key {video.location.key}   class {video.class_name or 'none'}"),
        printable(f"group {video.group}   splits {splits}"),
        f"{video.width} x {video.height} pixels   {count}   {rate}{lasts}",
    ]


def _caption(number: int, fps: float | None, times: tuple[float, ...] | None = None) -> str:
    if times:
        return f"{number}   {_time(times[number])}"
    return f"{number}   {_time(number / fps)}" if fps else f"{number}"


def _time(seconds: float) -> str:
    """Format a time as "3.04 s", and from one minute on as "1:03.04"."""
    hundredths = round(100 * seconds)
    if hundredths < 6000:
        return f"{hundredths / 100:.2f} s"
    minutes, rest = divmod(hundredths, 6000)
    hours, minutes = divmod(minutes, 60)
    clock = f"{hours}:{minutes:02d}" if hours else f"{minutes}"
    return f"{clock}:{rest / 100:05.2f}"


def _font(size: int) -> Any:
    """PIL's default outline font, or its bitmap font if PIL was built without FreeType."""
    try:
        return ImageFont.load_default(size=size)
    except (ImportError, TypeError):  # TypeError: older than 10.1
        return ImageFont.load_default()


def _height(font: Any) -> int:
    """Pixels from one line of text to the next."""
    return int(1.35 * font.getbbox("Ag")[3])


def _shortened(text: str, font: Any, width: int) -> str:
    """Shorten `text` to at most `width` pixels by replacing its middle with "..."."""
    text = text.encode("ascii", "replace").decode()  # PIL's bitmap font has no more
    if font.getlength(text) <= width:
        return text
    kept = len(text) - 4
    while kept > 1 and font.getlength(_without_middle(text, kept)) > width:
        kept -= 1
    return _without_middle(text, kept)


def _without_middle(text: str, kept: int) -> str:
    tail = kept // 2
    return f"{text[: kept - tail]}...{text[len(text) - tail :]}"
