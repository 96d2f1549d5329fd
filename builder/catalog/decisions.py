"""Leave out videos that a person has decided to drop, by a CSV file with the columns
`video,decision[,group]`, where `decision` is keep or drop. The page of `ascnet near-duplicates
--html` saves such a file. Videos that it does not name are kept."""

from dataclasses import replace
from pathlib import Path

from builder.catalog.files import find_names, read_csv
from builder.catalog.source import Catalog
from builder.errors import BuilderError, BuilderUsageError
from builder.printable import printable

KEEP, DROP = "keep", "drop"
_FREE = ("csv", "folder")  # data sets whose videos are the user's


def leave_out(catalog: Catalog, table: Path) -> Catalog:
    """Remove the videos that a table of decisions drops from a catalog, and list them as left
    alone, with the table as the reason. Labels and splits of the others do not change.

    Raises BuilderError if the table cannot be read, holds any other decision, names a video twice
    or one that the catalog does not have, or drops all; or if the data set's videos are fixed.
    """
    if catalog.dataset not in _FREE:
        raise BuilderUsageError(
            f"--without is for the data sets {' and '.join(_FREE)}; the videos of "
            f"{catalog.dataset} are fixed. Leave --without out."
        )
    dropped = _dropped(catalog, table)
    shown = printable(table.name)
    if len(dropped) == len(catalog.videos):
        raise BuilderError(
            f"{printable(str(table))} drops every video ({len(dropped)}), so none is left to "
            f"build. Say {KEEP} for some."
        )
    left = tuple(sorted((*catalog.left_alone, *((n, f"left out by {shown}") for n in dropped))))
    return replace(
        catalog,
        videos=tuple(video for video in catalog.videos if video.name not in dropped),
        left_alone=left,
        remarks=(*catalog.remarks, _remark(catalog, dropped, shown)),
    )


def _dropped(catalog: Catalog, table: Path) -> set[str]:
    """Names in the catalog of the videos that the table drops."""
    where = printable(str(table))
    decisions: dict[str, str] = {}
    for number, row in read_csv(table, ("video", "decision"), ("group",))[1]:
        name, decision = row["video"], row["decision"].strip()
        if decision not in (KEEP, DROP):
            raise BuilderError(
                f"{where}, line {number}: the decision on {name!r} is {decision!r}; it is {KEEP} "
                f"or {DROP}."
            )
        if name in decisions:
            raise BuilderError(f"{where}, line {number}: {name!r} is there twice; leave one row.")
        decisions[name] = decision
    # Tables are in UTF-8; feature stores, and so these tables, escape names that are not.
    name_of = {
        video.name.encode("utf-8", "backslashreplace").decode("utf-8"): video.name
        for video in catalog.videos
    }
    spelt = find_names(decisions, name_of, table)
    if unknown := [name for name in decisions if name not in spelt]:
        raise BuilderError(
            f"{where} names {len(unknown)} of {len(decisions)} videos that are not below "
            f"{printable(str(catalog.root))}, the first is {unknown[0]!r}. Name the source that it "
            "was made for with --source, or take these rows out."
        )
    return {name_of[spelt[name]] for name, decision in decisions.items() if decision == DROP}


def _remark(catalog: Catalog, dropped: set[str], table: str) -> str:
    text = f"{table} leaves out {len(dropped)} of {len(catalog.videos)} videos."
    kept = [video for video in catalog.videos if video.name not in dropped]
    empty = sorted(set(catalog.classes) - {video.class_name for video in kept})
    if empty:
        more = f" and {len(empty) - 5} more" if len(empty) > 5 else ""
        text += f" Careful: no video is left of {', '.join(empty[:5])}{more}; labels stay."
    return text
