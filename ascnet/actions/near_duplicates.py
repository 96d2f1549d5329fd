"""Implementation of `ascnet near-duplicates`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import torch

from ascnet import duplicates_page, groups_table, shared_parts_table
from ascnet.options import (
    gathered,
)
from ascnet.progress import ProgressBar
from builder.atomic import write_atomically
from builder.catalog.spreadsheet_cells import line, written
from builder.counted import counted
from builder.printable import printable
from builder.text_table import aligned
from evaluate.choices import PART, WHOLE
from evaluate.features.store import Features
from evaluate.search.copies import copy_groups
from evaluate.search.duplicates import (
    DuplicatePair,
    VideoPair,
    find_pairs,
    groups_of,
    joined_groups,
    leaks_of,
)
from evaluate.search.parts import find_parts, part_rules, shared_parts, step_of
from evaluate.search.search import FEWEST, centre_of, different_videos, span_text


@dataclass(frozen=True)
class Listing:
    """Which pairs to list, and the files to write.

    Attributes:
        show: number of pairs to print, and of groups on the page
        only_leaks: list only pairs across the parts of a split
        groups: table for the next build
        html: page for deciding which copies to keep
        source: folder of the videos, for the page
    """

    show: int
    only_leaks: bool
    csv: Path | None
    groups: Path | None
    html: Path | None
    source: Path | None


@dataclass(frozen=True)
class Likeness:
    """What counts as a near-duplicate.

    Attributes:
        threshold: minimum mean cosine; None: WHOLE or PART
        parts: whether to find parts that both videos share, however short
        shortest: minimum duration of a part in seconds
    """

    threshold: float | None
    parts: bool
    shortest: float
    centring: str

    @property
    def least(self) -> float:
        if self.threshold is not None:
            return self.threshold
        return PART if self.parts else WHOLE


@dataclass(frozen=True)
class Duplicates:
    """The near-duplicates in a store.

    Attributes:
        leaking: pairs across the parts of a split
        groups: group of every video in a pair
    """

    features: Features
    pairs: Sequence[DuplicatePair]
    leaking: Sequence[DuplicatePair]
    groups: dict[int, int]


@gathered(listing=Listing, likeness=Likeness)
def run(store: Path, listing: Listing, likeness: Likeness, device: torch.device) -> None:
    """Run the command; its help explains the options."""
    if listing.html is None and listing.source is not None:
        raise click.UsageError("--source is for the page of --html; give both, or neither.")
    if listing.html is not None and not listing.show:
        raise click.UsageError(
            "--show is 0, which would leave the page of --html empty; give 1 or more."
        )
    if listing.html is not None and likeness.parts:
        raise click.UsageError("--html is for copies of whole videos; omit --parts.")
    features = Features(store)
    if listing.groups is not None:
        if listing.groups == listing.csv:
            raise click.UsageError(f"--csv and --groups are both {listing.csv}; name two files.")
        groups_table.check(features, listing.groups)
    if listing.source is not None:
        duplicates_page.must_have_videos(listing.source, features)
    if listing.csv is not None:
        listing.csv.parent.mkdir(parents=True, exist_ok=True)
    centre = centre_of(features, likeness.centring)
    list_them = _list_parts if likeness.parts else _list_pairs
    pairs = list_them(features, listing, likeness, centre, device)
    if listing.only_leaks and not features.splits:
        click.echo(
            "The store has no split, so --leaks finds no pair. Omit --leaks, or embed videos with "
            "a split (splits.csv in their folder, or --shards of a data set with splits)."
        )
    if not centre.any() and likeness.centring != "none":
        few = counted(different_videos(features), "different video")
        click.echo(
            f"Careful: the store has {few}, and centring needs {FEWEST}, so raw features were "
            "compared. Their cosines are all near 1: check the pairs, or raise --threshold."
        )
    if listing.csv is not None:
        click.echo(listing.csv)
    if listing.groups is not None:
        joined = joined_groups(features.groups, pairs)
        write_atomically(listing.groups, groups_table.table_of(features, joined))
        click.echo(groups_table.summary_of(features, joined, listing.groups))


def _list_pairs(
    features: Features,
    listing: Listing,
    likeness: Likeness,
    centre: np.ndarray,
    device: torch.device,
) -> Sequence[VideoPair]:
    """List pairs of near-duplicate videos. Returns all pairs."""
    with ProgressBar("comparing", "clips") as progress:
        pairs = find_pairs(features, likeness.least, centre, device, progress)
    leaking = [pair for pair in pairs if leaks_of(features, pair)]
    duplicates = Duplicates(features, pairs, leaking, groups_of(pairs))
    listed = leaking if listing.only_leaks else pairs
    if listing.csv is not None:
        write_atomically(listing.csv, _csv(duplicates, listed))
    if listed and listing.show:
        click.echo(_text(duplicates, listed[: listing.show]))
    _tell_of_more(len(listed), listing, "more pair")
    hint = listing.groups is None and groups_table.has_own_groups(features)
    click.echo(_summary(duplicates, likeness.least, hint))
    if listing.html is not None:
        some = set(listed)
        groups = [group for group in copy_groups(pairs) if some.intersection(group.pairs)]
        said = duplicates_page.write_page(
            listing.html, features, groups, listing.show, listing.source
        )
        click.echo(said)
    return pairs


def _list_parts(
    features: Features,
    listing: Listing,
    likeness: Likeness,
    centre: np.ndarray,
    device: torch.device,
) -> Sequence[VideoPair]:
    """List parts that two videos share. Returns all parts."""
    rules = part_rules(step_of(features), likeness.least, likeness.shortest)
    with ProgressBar("comparing", "videos") as progress:
        parts = find_parts(features, rules, centre, device, progress)
    listed = [part for part in parts if leaks_of(features, part)] if listing.only_leaks else parts
    shared = shared_parts(features, listed)
    if listing.csv is not None:
        write_atomically(listing.csv, shared_parts_table.csv_of(features, shared))
    if shared and listing.show:
        click.echo(shared_parts_table.table_of(features, shared[: listing.show]))
    _tell_of_more(len(shared), listing, "more part")
    click.echo(shared_parts_table.summary_of(features, shared, likeness.least))
    return parts


def _tell_of_more(count: int, listing: Listing, what: str) -> None:
    if listing.show and count > listing.show:
        click.echo(f"... and {counted(count - listing.show, what)} (--show, --csv)")


def _cells(duplicates: Duplicates, pair: DuplicatePair) -> list[str]:
    features = duplicates.features
    return [
        f"{pair.score:.3f}",
        str(duplicates.groups[pair.first] + 1),
        features.names[pair.first],
        span_text(features, *pair.first_clips),
        features.names[pair.second],
        span_text(features, *pair.second_clips),
        "; ".join(leaks_of(features, pair)),
    ]


def _text(duplicates: Duplicates, pairs: Sequence[DuplicatePair]) -> str:
    head = ["score", "group", "video", "from-to", "and video", "from-to", "split"]
    rows = [[printable(cell) for cell in _cells(duplicates, pair)] for pair in pairs]
    if not duplicates.features.splits:
        head, rows = head[:-1], [row[:-1] for row in rows]
    return "\n".join(aligned([head, *rows], right=(0, 1)))


def _csv(duplicates: Duplicates, pairs: Sequence[DuplicatePair]) -> str:
    head = ["score", "group", "first", "first_time", "second", "second_time", "different_parts"]
    rows = [line([*head, "first_class", "second_class"])]
    for pair in pairs:
        classes = [duplicates.features.class_of[video] for video in (pair.first, pair.second)]
        score, *names = _cells(duplicates, pair) + classes
        rows.append(line([score, *map(written, names)]))
    return "".join(rows)


def _summary(duplicates: Duplicates, threshold: float, hint: bool) -> str:
    pairs, names = duplicates.pairs, duplicates.features.names
    splits, leaking = duplicates.features.splits, duplicates.leaking
    text = (
        f"{counted(len(pairs), 'pair')} of {counted(len(names), 'video')} with a score of "
        f"{threshold:g} or more: {counted(len(duplicates.groups), 'video')} in "
        f"{counted(len(set(duplicates.groups.values())), 'group')}"
    )
    if leaking:
        text += (
            f"\nWARNING: {counted(len(leaking), 'pair')} across the parts of a split: "
            "evaluation on these parts is biased"
        )
        if hint:
            text += " (--groups: a table that keeps copies in one part at the next build)"
    elif splits:
        text += f"; no pair lies in different parts of split {', '.join(sorted(splits))}"
    return text
