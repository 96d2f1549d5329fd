"""Format the statistics of a data set as text."""

import json
import math
from statistics import median
from typing import Any

from builder.counted import counted
from builder.decode.frames import REASONS, WARNINGS
from builder.printable import printable
from builder.shards.info import LISTED, PARTS_SHOWN, SHORT, Overview
from builder.shards.manifest import VIDEOS_FILE
from builder.text_table import aligned

_BAR = 40  # characters


def render(data: Overview, every_class: bool = False) -> str:
    """Format the statistics as lines of text, with a table of all classes if `every_class`."""
    blocks = [
        ("videos", _videos(data)),
        ("failed", _failures(data)),
        ("marked", _meanings(data.warnings, WARNINGS)),
        ("classes", _classes(data, every_class)),
        ("splits", _splits(data)),
        ("frames", _frames(data)),
        ("size", [_counted([(f"{s.width}x{s.height}", s.videos) for s in data.sizes])]),
        ("rate", _rates(data)),
        ("bytes", _bytes(data)),
        ("settings", [_settings(data.settings)]),
    ]
    lines = [f"{printable(data.name)}: {printable(data.folder)}"]
    for title, block in blocks:
        for i, line in enumerate(line for line in block if line):
            lines.append(f"  {title if i == 0 else '':<9} {line}".rstrip())
    return "\n".join(lines)


def _videos(data: Overview) -> list[str]:
    line = f"{data.expected} expected, {data.built} built, {sum(data.failed.values())} failed"
    if data.left_alone:
        line += f"; {data.left_alone} other files left alone ({VIDEOS_FILE} says why)"
    return [line]


def _meanings(counts: dict[str, int], meanings: dict[str, str]) -> list[str]:
    table = [(str(n), word, meanings.get(word, "")) for word, n in counts.items()]
    return aligned(table, right=(0,))


def _failures(data: Overview) -> list[str]:
    table = [
        (f"key {f.key}", printable(f.name), f.reason, printable(f.detail)) for f in data.failures
    ]
    lines = _meanings(data.failed, REASONS) + aligned(table)
    if rest := sum(data.failed.values()) - len(data.failures):
        lines.append(f"and {rest} more: {printable(data.folder)}/{VIDEOS_FILE}")
    return lines


def _classes(data: Overview, every_class: bool) -> list[str]:
    videos = list(data.classes.values())
    if not videos:
        return [
            "none"
            + (f" ({counted(data.unlabelled, 'video')} without one)" if data.unlabelled else "")
        ]
    line = f"{len(videos)}; videos a class: min {min(videos)}, median {median(videos):g}"
    line += f", max {max(videos)}"
    if data.unlabelled:
        line += f"; {counted(data.unlabelled, 'video')} without a class"
    if empty := videos.count(0):
        line += f"; {empty} {'class has' if empty == 1 else 'classes have'} no video"
    table = [(str(n), printable(name)) for name, n in data.classes.items()] if every_class else []
    return [line, *aligned(table, right=(0,))]


def _splits(data: Overview) -> list[str]:
    if not data.splits:
        return ["none"] if data.built else []
    shown = [p for p in PARTS_SHOWN if any(parts[p].videos for parts in data.splits.values())]
    table = [("split", *shown)]
    for split, parts in data.splits.items():
        cells = [f"{parts[p].videos} ({parts[p].groups} groups)" for p in shown]
        table.append((printable(split), *cells))
    lines = aligned(table, right=range(1, len(shown) + 1))
    for split, shared in data.shared_groups.items():
        if shared:
            lines.append(
                f"split {printable(split)}: {shared} groups lie in more than one part, so clips of "
                "one recording are on both sides"
            )
    return lines


def _frames(data: Overview) -> list[str]:
    if data.lengths is None:
        return []
    its = data.lengths
    most = max(b.videos for b in its.bins)
    bars = ["#" * math.ceil(_BAR * b.videos / most) for b in its.bins]
    table = [
        (f"{b.first}", "-", f"{b.last}", f"{b.videos}", bar)
        for b, bar in zip(its.bins, bars, strict=True)
    ]
    return [
        f"{data.frames}; a video: min {its.shortest}, median {its.median:g}, max {its.longest}",
        f"{counted(its.short, 'video')} shorter than {SHORT} frames (16 at stride 2)",
        *aligned(table, right=(0, 2, 3), gap=" "),
    ]


def _counted(counts: list[tuple[str, int]]) -> str:
    """Format counts as "170x128 in 760 videos, 128x128 in 8"."""
    shown = [f"{word} in {videos}" for word, videos in counts[:LISTED]]
    if shown:
        shown[0] += " videos"
    if rest := counts[LISTED:]:
        shown.append(f"{len(rest)} others in {sum(videos for _, videos in rest)}")
    return ", ".join(shown)


def _rates(counts: Overview) -> list[str]:
    lines = [_counted([(_rate(r.fps), r.videos) for r in counts.rates])]
    if counts.uneven is None:
        lines.append("built before frame times were kept: frames are taken for evenly spaced")
    elif counts.uneven:
        lines.append(
            f"{counts.uneven} with unevenly spaced frames: their rate is an average, their frame "
            f"times are kept"
        )
    return lines


def _rate(fps: float | None) -> str:
    return "unknown" if fps is None else f"{fps:g} fps"


def _bytes(data: Overview) -> list[str]:
    its = data.shards
    if not its.number:
        return ["no shards"]
    sizes = f"{_readable(its.smallest)} to {_readable(its.largest)}"
    line = f"{_readable(its.bytes)} in {its.number} shards of {sizes}"
    if its.number == 1:
        line = f"{_readable(its.bytes)} in 1 shard"
    elif its.number > 2:
        line += f" (median {_readable(its.median)})"
    if data.built:
        line += f"; {_readable(data.frame_bytes / data.built)} a video"
    if data.frames:
        line += f", {_readable(data.frame_bytes / data.frames)} a frame"
    return [line]


def _settings(settings: dict[str, Any]) -> str:
    words = (
        f"{key} {value if isinstance(value, str) else json.dumps(value)}"
        for key, value in settings.items()
    )
    return printable(", ".join(words))


def _readable(size: float) -> str:
    """Format a number of bytes as "27.4 MB"."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} bytes" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
