"""Determine which videos are new to a store, which leave it, and which are copied."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ascnet.source_files import SourceFile, SourceFiles, is_readable, sha256_of
from ascnet.store_videos import Wanted
from builder.build.reuse import EarlierSample
from builder.catalog.source import Catalog, Source
from builder.shards.video_row import VideoRow

Digest = Callable[[str], str | None]


@dataclass(frozen=True)
class Growth:
    """The difference between a store's videos and the wanted ones.

    Attributes:
        catalog: all wanted videos, sorted by name
        sources: their files
        copied: videos with known files, by position in the catalog
        counts: numbers of new, changed, renamed, gone and unchanged videos
    """

    catalog: Catalog
    sources: SourceFiles
    copied: Mapping[int, EarlierSample]
    counts: Mapping[str, int]

    @property
    def shared(self) -> int:
        """Number of earlier videos that are copied."""
        return len({sample.row.key for sample in self.copied.values()})

    @property
    def is_none(self) -> bool:
        """Whether all files are unchanged."""
        return all(not count for word, count in self.counts.items() if word != "unchanged")

    def sentence(self) -> str:
        """The counts, such as "12 new, 1 changed, 3 gone, 984 unchanged"."""
        return ", ".join(
            f"{count} {word}" for word, count in self.counts.items() if count or word != "renamed"
        )


def growth_to(
    wanted: Wanted, earlier: Mapping[str, EarlierSample], known: Mapping[str, SourceFile]
) -> Growth:
    """The difference between the `earlier` videos, by name, and the wanted ones.

    A file is unchanged if its size and time are `known`, or else if its size and SHA-256 are. A
    file with a new name whose content and suffix are known counts as renamed if the file with the
    old name is gone, and otherwise as new; its video is copied in both cases.
    """
    catalog, now = wanted.catalog, wanted.sources
    by_size: dict[tuple[int | None, str], list[EarlierSample]] = {}
    for sample in earlier.values():
        by_size.setdefault((sample.row.source_bytes, _ending(sample.row.name)), []).append(sample)
    digest = cache(sha256_of)
    names = {video.name for video in catalog.videos}
    copied: dict[int, EarlierSample] = {}
    counts = dict.fromkeys(("new", "changed", "renamed", "gone", "unchanged"), 0)
    renamed: set[str] = set()
    for key, video in enumerate(catalog.videos):
        stored = earlier.get(video.name)
        if stored and (
            video.name in wanted.kept or _is_same(stored.row, video, wanted, known, digest)
        ):
            copied[key] = stored
            counts["unchanged"] += 1
            continue
        file = now.files[video.name]
        others = by_size.get((file.bytes, _ending(video.name)), [])
        other = next((s for s in others if _has_content(s.row, file, digest)), None)
        if other:
            copied[key] = other
        old = other.row.name if other else video.name
        if stored:
            counts["changed"] += 1
        elif old not in names and old not in renamed:
            renamed.add(old)
            counts["renamed"] += 1
        else:
            counts["new"] += 1
    counts["gone"] = len(earlier.keys() - names - renamed)
    return Growth(catalog, now, copied, counts)


def _ending(name: str) -> str:
    return Path(name).suffix.lower()


def _is_same(
    row: VideoRow,
    video: Source,
    wanted: Wanted,
    known: Mapping[str, SourceFile],
    digest: Digest,
) -> bool:
    if video.problem:
        return video.problem == row.reason
    file, before = wanted.sources.files[video.name], known.get(video.name)
    is_untouched = before and (before.bytes, before.mtime_ns) == (file.bytes, file.mtime_ns)
    if row.source_sha256 is None:  # the file could not be read in time, or not at all
        return bool(is_untouched) and (row.reason == "timeout" or not is_readable(file.path))
    if is_untouched:
        return file.bytes == row.source_bytes
    return _has_content(row, file, digest)


def _has_content(row: VideoRow, file: SourceFile, digest: Digest) -> bool:
    return (
        row.source_sha256 is not None
        and row.source_bytes == file.bytes
        and row.source_sha256 == digest(file.path)
    )
