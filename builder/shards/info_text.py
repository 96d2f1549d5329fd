"""The overview of a data set as text."""

import json
import math
from statistics import median
from typing import Any

from builder.decode.frames import REASONS, WARNINGS
from builder.printable import printable
from builder.shards.info import LISTED, PARTS_SHOWN, SHORT, Overview
from builder.shards.manifest import VIDEOS_FILE
from builder.text_table import aligned

_BAR = 40  # characters


def render(found: Overview, every_class: bool = False) -> str:
    """The overview as text of several lines; a table of all classes if `every_class`."""
    blocks = [
        ("videos", _videos(found)),
        ("failed", _failures(found)),
        ("marked", _meanings(found.warnings, WARNINGS)),
        ("classes", _classes(found, every_class)),
        ("splits", _splits(found)),
        ("frames", _frames(found)),
        ("size", [_counted([(f"{s.width}x{s.height}", s.videos) for s in found.sizes])]),
        ("rate", _rates(found)),
        ("bytes", _bytes(found)),
        ("settings", [_settings(found.settings)]),
    ]
    lines = [f"{printable(found.name)}: {printable(found.folder)}"]
    for title, block in blocks:
        for i, line in enumerate(line for line in block if line):
            lines.append(f"  {title if i == 0 else '':<9} {line}".rstrip())
    return "\n".join(lines)


def _videos(found: Overview) -> list[str]:
    line = f"{found.expected} expected, {found.built} built, {sum(found.failed.values())} failed"
    if found.left_alone:
        line += f"; {found.left_alone} other files left alone ({VIDEOS_FILE} says why)"
    return [line]


def _meanings(counts: dict[str, int], meanings: dict[str, str]) -> list[str]:
    table = [(str(n), word, meanings.get(word, "")) for word, n in counts.items()]
    return aligned(table, right=(0,))


def _failures(found: Overview) -> list[str]:
    table = [
        (f"key {f.key}", printable(f.name), f.reason, printable(f.detail)) for f in found.failures
    ]
    lines = _meanings(found.failed, REASONS) + aligned(table)
    if rest := sum(found.failed.values()) - len(found.failures):
        lines.append(f"and {rest} more: {printable(found.folder)}/{VIDEOS_FILE}")
    return lines


def _classes(found: Overview, every_class: bool) -> list[str]:
    videos = list(found.classes.values())
    if not videos:
        return ["none" + (f" ({found.unlabelled} videos without one)" if found.unlabelled else "")]
    line = f"{len(videos)}; videos a class: min {min(videos)}, median {median(videos):g}"
    line += f", max {max(videos)}"
    if found.unlabelled:
        line += f"; {found.unlabelled} videos without a class"
    if empty := videos.count(0):
        line += f"; {empty} {'class has' if empty == 1 else 'classes have'} no video"
    table = [(str(n), printable(name)) for name, n in found.classes.items()] if every_class else []
    return [line, *aligned(table, right=(0,))]


def _splits(found: Overview) -> list[str]:
    if not found.splits:
        return ["none"] if found.built else []
    shown = [p for p in PARTS_SHOWN if any(parts[p].videos for parts in found.splits.values())]
    table = [("split", *shown)]
    for split, parts in found.splits.items():
        cells = [f"{parts[p].videos} ({parts[p].groups} groups)" for p in shown]
        table.append((printable(split), *cells))
    lines = aligned(table, right=range(1, len(shown) + 1))
    for split, shared in found.shared_groups.items():
        if shared:
            lines.append(
                f"split {printable(split)}: {shared} groups lie in more than one part, so clips of "
                "one recording are on both sides"
            )
    return lines


def _frames(found: Overview) -> list[str]:
    if found.lengths is None:
        return []
    its = found.lengths
    most = max(b.videos for b in its.bins)
    bars = ["#" * math.ceil(_BAR * b.videos / most) for b in its.bins]
    table = [
        (f"{b.first}", "-", f"{b.last}", f"{b.videos}", bar)
        for b, bar in zip(its.bins, bars, strict=True)
    ]
    return [
        f"{found.frames}; a video: min {its.shortest}, median {its.median:g}, max {its.longest}",
        f"{its.short} videos have fewer than {SHORT} (16 frames at stride 2 need {SHORT - 1})",
        *aligned(table, right=(0, 2, 3), gap=" "),
    ]


def _counted(found: list[tuple[str, int]]) -> str:
    """ "170x128 in 760 videos, 128x128 in 8"."""
    shown = [f"{word} in {videos}" for word, videos in found[:LISTED]]
    if shown:
        shown[0] += " videos"
    if rest := found[LISTED:]:
        shown.append(f"{len(rest)} others in {sum(videos for _, videos in rest)}")
    return ", ".join(shown)


def _rates(found: Overview) -> list[str]:
    lines = [_counted([(_rate(r.fps), r.videos) for r in found.rates])]
    if found.uneven is None:
        lines.append("built before frame times were kept: frames are taken for evenly spaced")
    elif found.uneven:
        lines.append(
            f"{found.uneven} with unevenly spaced frames: their rate is an average, their frame "
            f"times are kept"
        )
    return lines


def _rate(fps: float | None) -> str:
    return "unknown" if fps is None else f"{fps:g} fps"


def _bytes(found: Overview) -> list[str]:
    its = found.shards
    if not its.number:
        return ["no shards"]
    sizes = f"{_readable(its.smallest)} to {_readable(its.largest)}"
    line = f"{_readable(its.bytes)} in {its.number} shards of {sizes}"
    if its.number == 1:
        line = f"{_readable(its.bytes)} in 1 shard"
    elif its.number > 2:
        line += f" (median {_readable(its.median)})"
    if found.built:
        line += f"; {_readable(found.frame_bytes / found.built)} a video"
    if found.frames:
        line += f", {_readable(found.frame_bytes / found.frames)} a frame"
    return [line]


def _settings(settings: dict[str, Any]) -> str:
    words = (
        f"{key} {value if isinstance(value, str) else json.dumps(value)}"
        for key, value in settings.items()
    )
    return printable(", ".join(words))


def _readable(size: float) -> str:
    """Bytes as a person reads them: "27.4 MB"."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} bytes" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
