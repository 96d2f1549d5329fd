"""Videos that are missing from the shards, with the reasons."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder.shards.dataset import ShardDataset
from builder.shards.manifest import DATASET_FILE, VIDEOS_FILE
from builder.shards.video_row import BUILT, FAILED
from evaluate.pages.pictures import UNREADABLE, sentence_of

FAILURES_SHOWN = 50  # videos listed at most


@dataclass(frozen=True)
class FailedRow:
    """A video that is missing from the shards."""

    name: str
    reason: str
    detail: str


@dataclass(frozen=True)
class Build:
    """The outcome of building a data set.

    Attributes:
        reasons: (reason, number of failed videos), most frequent first
        remarks: (warning, number of built videos), most frequent first
        left_alone: number of files that are not videos of the data set
        failures: the first failed videos
        problem: why there is no list of failures; "": there is one
    """

    name: str
    folder: str
    expected: int
    built: int
    reasons: list[tuple[str, int]]
    remarks: list[tuple[str, int]]
    left_alone: int
    failures: list[FailedRow]
    problem: str

    @property
    def failed(self) -> int:
        return sum(number for _, number in self.reasons)

    @property
    def more(self) -> int:
        """Number of failed videos that are not listed."""
        return self.failed - len(self.failures)

    @property
    def rows_file(self) -> str:
        return f"{self.folder}/{VIDEOS_FILE}"


def _of_rows(folder: Path) -> Build:
    """The outcome by the rows of a data set. Raises one of UNREADABLE if they cannot be read."""
    dataset = ShardDataset(folder)
    reasons: Counter[str] = Counter()
    remarks: Counter[str] = Counter()
    failures: list[FailedRow] = []
    built = left_alone = 0
    for row in dataset.rows():
        if row.status == BUILT:
            built += 1
            remarks.update(row.warnings)
        elif row.status == FAILED:
            reasons[str(row.reason)] += 1
            if len(failures) < FAILURES_SHOWN:
                failures.append(FailedRow(row.name, str(row.reason), row.detail))
        else:
            left_alone += 1
    return Build(
        dataset.name,
        str(folder),
        built + reasons.total(),
        built,
        _ranked(reasons),
        _ranked(remarks),
        left_alone,
        failures,
        "",
    )


def build_of(name: str, folder: Path | None, counts: dict[str, Any]) -> Build:
    """The outcome by the rows of a data set or, if the shards are missing or damaged, by the counts
    recorded in the run."""
    problem = "The shards are remote, so there is no list of the failed videos here."
    if folder is not None:
        try:
            return _of_rows(folder)
        except UNREADABLE as error:
            what, why = f"The shards are no longer at {folder}", ""
            if (folder / DATASET_FILE).is_file():
                what, why = f"The rows of {folder} cannot be read", f" {sentence_of(error)}"
            problem = (
                f"{what}, so there is no list of the failed videos. The counts were recorded when "
                f"the shards were last used.{why}"
            )
    return Build(
        name,
        str(folder or "remote"),
        int(counts.get("expected", 0)),
        int(counts.get("built", 0)),
        _ranked(Counter(counts.get("failed") or {})),
        _ranked(Counter(counts.get("warnings") or {})),
        int(counts.get("ignored", 0)),
        [],
        problem,
    )


def _ranked(counts: Counter[str]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))
