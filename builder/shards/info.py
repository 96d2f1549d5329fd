"""Statistics of a built data set, from `dataset.json` and one pass over `videos.jsonl`."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median
from typing import Any

from builder.shards.manifest import Manifest
from builder.shards.video_row import FAILED, IGNORED, VideoRow

SHORT = 31  # frames that a clip of 16 frames at stride 2 spans
PARTS_SHOWN = ("train", "val", "test", "none")  # "none": the split does not contain the video
_BINS = 10  # bars of the histogram; rounding may add one
LISTED = 5  # at most so many failed videos, frame sizes and frame rates are listed
_NOT_SETTINGS = ("schema", "dataset", "videos", "videos_sha256")  # what was built, not how


@dataclass(frozen=True)
class PartCounts:
    """Built videos of one part of a split, and their groups."""

    videos: int
    groups: int


@dataclass(frozen=True)
class Bin:
    """Number of videos with `first` to `last` frames, both included."""

    first: int
    last: int
    videos: int


@dataclass(frozen=True)
class Lengths:
    """How long the built videos are, in frames.

    Attributes:
        short: videos of fewer than SHORT frames
        bins: of the histogram; the last one holds all longer videos, too
    """

    shortest: int
    median: float
    longest: int
    short: int
    bins: tuple[Bin, ...]


@dataclass(frozen=True)
class Size:
    """A frame size in pixels, and how many built videos have it."""

    width: int
    height: int
    videos: int


@dataclass(frozen=True)
class Rate:
    """A native frame rate, and how many built videos have it.

    Attributes:
        fps: the average if frames are unevenly spaced; None if the file does not say
    """

    fps: float | None
    videos: int


@dataclass(frozen=True)
class FailedVideo:
    """A video that is not in the shards, and why."""

    key: int | None
    name: str
    reason: str
    detail: str


@dataclass(frozen=True)
class ShardSizes:
    """Number and sizes of the tar files; sizes in bytes."""

    number: int
    bytes: int
    smallest: int
    median: float
    largest: int


@dataclass(frozen=True)
class Overview:
    """The statistics of one data set that `ascnet info` shows; `--json` prints its `asdict`.

    Attributes:
        failed: number of failed videos by reason
        warnings: number of built videos by warning
        left_alone: number of files that are not videos of the data set
        classes: number of built videos of every class, in the order of the labels
        unlabelled: number of built videos without a class
        splits: {"1": {"train": PartCounts(...), ...}}
        shared_groups: number of groups in more than one part, by split
        lengths: None if nothing was built
        sizes: most frequent first
        rates: most frequent first
        uneven: number of built videos with unevenly spaced frames; None if unknown, as schema 2
            kept no times
        frame_bytes: of all JPEGs, without tar's headers and padding
        failures: the first few failed videos
    """

    name: str
    folder: str
    expected: int
    built: int
    failed: dict[str, int]
    warnings: dict[str, int]
    left_alone: int
    classes: dict[str, int]
    unlabelled: int
    splits: dict[str, dict[str, PartCounts]]
    shared_groups: dict[str, int]
    frames: int
    lengths: Lengths | None
    sizes: tuple[Size, ...]
    rates: tuple[Rate, ...]
    uneven: int | None
    frame_bytes: int
    shards: ShardSizes
    settings: dict[str, Any]
    failures: tuple[FailedVideo, ...]


def overview(manifest: Manifest, rows: Iterable[VideoRow], folder: str) -> Overview:
    """Compute the statistics of a data set in one pass over `rows`; `folder` is only copied."""
    failed: Counter[str] = Counter()
    warnings: Counter[str] = Counter()
    classes: Counter[str | None] = Counter(dict.fromkeys(manifest.classes, 0))
    members: defaultdict[tuple[tuple[str, str], ...], Counter[str]] = defaultdict(Counter)
    sizes: Counter[tuple[int, int]] = Counter()
    rates: Counter[float | None] = Counter()
    lengths: list[int] = []
    uneven = 0
    failures: list[FailedVideo] = []
    left_alone = frame_bytes = 0
    for row in rows:
        if row.status == IGNORED:
            left_alone += 1
        elif row.status == FAILED:
            failed[str(row.reason)] += 1
            if len(failures) < LISTED:
                failures.append(FailedVideo(row.key, row.name, str(row.reason), row.detail))
        else:
            warnings.update(row.warnings)
            classes[row.class_name] += 1
            members[tuple(row.splits.items())][row.group] += 1
            sizes[row.width, row.height] += 1
            rates[row.fps] += 1
            uneven += bool(row.times)
            lengths.append(row.frames)
            frame_bytes += row.bytes
    parts = _parts(members)
    return Overview(
        name=manifest.dataset,
        folder=folder,
        expected=len(lengths) + failed.total(),
        built=len(lengths),
        failed=dict(failed.most_common()),
        warnings=dict(warnings.most_common()),
        left_alone=left_alone,
        unlabelled=classes.pop(None, 0),
        classes={name: videos for name, videos in classes.items() if name is not None},
        splits={
            split: {part: PartCounts(g.total(), len(g)) for part, g in groups.items()}
            for split, groups in parts.items()
        },
        shared_groups={split: _shared(groups) for split, groups in parts.items()},
        frames=sum(lengths),
        lengths=_lengths(lengths),
        sizes=tuple(Size(*size, videos) for size, videos in sizes.most_common()),
        rates=tuple(Rate(fps, videos) for fps, videos in rates.most_common()),
        uneven=None if _lacks_times(manifest) else uneven,
        frame_bytes=frame_bytes,
        shards=_shards([shard.bytes for shard in manifest.shards]),
        settings={k: v for k, v in manifest.settings.items() if k not in _NOT_SETTINGS},
        failures=tuple(failures),
    )


def _lacks_times(manifest: Manifest) -> bool:
    """Whether frames without times may be unevenly spaced, as in schema 2 at native rates."""
    return manifest.schema == 2 and not manifest.settings.get("fps")


def _parts(
    members: dict[tuple[tuple[str, str], ...], Counter[str]],
) -> dict[str, dict[str, Counter[str]]]:
    """Convert {split membership: videos per group} to {split: {part: videos per group}}."""
    by_split: dict[str, dict[str, Counter[str]]] = {}
    for split in sorted({s for splits in members for s, _ in splits}, key=_by_number):
        parts: dict[str, Counter[str]] = {part: Counter() for part in PARTS_SHOWN}
        for splits, groups in members.items():
            parts.setdefault(dict(splits).get(split, "none"), Counter()).update(groups)
        by_split[split] = parts
    return by_split


def _by_number(split: str) -> tuple[int, str]:
    return (int(split) if split.isdecimal() else 0, split)


def _shared(groups: dict[str, Counter[str]]) -> int:
    times = Counter(group for part, names in groups.items() if part != "none" for group in names)
    return sum(n > 1 for n in times.values())


def _lengths(frames: list[int]) -> Lengths | None:
    if not frames:
        return None
    frames = sorted(frames)
    low, high = frames[0], frames[-1]
    # A few very long videos must not squeeze all the others into one bar.
    usual = frames[int(0.99 * (len(frames) - 1))]
    top = high if high - low <= 2 * (usual - low) else usual
    width = _round_up((top - low + 1) / _BINS)
    starts = list(range(low // width * width, top + 1, width))
    ends = [start - 1 for start in starts[1:]] + [max(high, starts[-1] + width - 1)]
    counts = Counter(min((n - starts[0]) // width, len(starts) - 1) for n in frames)
    bins = (
        Bin(first, last, counts[i])
        for i, (first, last) in enumerate(zip(starts, ends, strict=True))
    )
    short = sum(n < SHORT for n in frames)
    return Lengths(low, median(frames), high, short, tuple(bins))


def _round_up(number: float) -> int:
    """Round up to 1, 2 or 5 times a power of ten."""
    power = 10 ** max(0, math.floor(math.log10(number)))
    return int(next(step * power for step in (1, 2, 5, 10) if step * power >= number))


def _shards(sizes: list[int]) -> ShardSizes:
    if not sizes:
        return ShardSizes(0, 0, 0, 0, 0)
    return ShardSizes(len(sizes), sum(sizes), min(sizes), median(sizes), max(sizes))
