"""Implementation of `ascnet select`."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np
import torch

from ascnet import groups_table
from ascnet.progress import ProgressBar
from builder.atomic import write_atomically
from builder.catalog.source import UNUSED
from builder.counted import counted
from builder.printable import printable
from evaluate.features.store import Features
from evaluate.search.duplicates import find_pairs, joined_groups
from evaluate.search.search import centre_of, unit_rows
from evaluate.search.selection import k_centre, train_and_test

_OWN = "1"  # name of the split of a folder or list


def run(
    store: Path,
    count: int | None,
    test_share: float | None,
    out: Path,
    threshold: float,
    seed: int,
    device: torch.device,
) -> None:
    """Run the command; its help explains the options."""
    if (count is None) == (test_share is None):
        raise click.UsageError("Give either --count N or --split TRAIN/TEST.")
    features = Features(store)
    groups_table.check(features, out, "--out")
    if count is not None:
        parts, text = _chosen(features, count, device)
        groups: Sequence[str] = features.groups
    else:
        assert test_share is not None
        groups = _groups_with_copies(features, threshold, device)
        is_test = train_and_test(groups, features.class_of, test_share, seed)
        parts = ["test" if one else "train" for one in is_test]
        text = _split_text(features, groups, parts)
    write_atomically(out, groups_table.table_of(features, groups, parts))
    click.echo(
        "\n".join([f"{printable(str(out))}: {text}", *groups_table.nameless(features.names)])
    )
    click.echo("\n".join(["Next:", *groups_table.next_commands(features, out)]))


def _chosen(features: Features, count: int, device: torch.device) -> tuple[list[str], str]:
    """The part of every video, and a sentence about the choice."""
    old = features.splits.get(_OWN, np.full(len(features.names), "train"))
    pool = np.flatnonzero(old == "train")
    if not len(pool):
        raise click.UsageError(
            f"--count chooses from the training part, and {features.path} has no training video. "
            "Embed videos without a split, or make a new one with --split."
        )
    if count > len(pool):
        what = "training videos" if _OWN in features.splits else "videos"
        raise click.UsageError(
            f"--count is {count}; {features.path} has {len(pool)} {what}, so it takes 1 to "
            f"{len(pool)}."
        )
    rows = unit_rows(features.features, centre_of(features), str(features.path)).to(device)
    pool_groups = [features.groups[i] for i in pool]
    with ProgressBar("choosing", "videos") as progress:
        places = pool[
            k_centre(rows[torch.from_numpy(pool).to(device)], pool_groups, count, progress)
        ]
    parts = np.where(old == "", UNUSED, old)
    parts[pool] = UNUSED
    parts[places] = "train"
    recordings = {features.groups[i] for i in places}
    text = f"{counted(count, 'video')} of {len(pool)} chosen, of "
    text += f"{counted(len(recordings), 'recording')} of {len(set(pool_groups))}"
    if classes := {features.class_of[i] for i in pool} - {""}:
        seen = {features.class_of[i] for i in places} - {""}
        text += f" and {len(seen)} of {len(classes)} class{'es' * (len(classes) != 1)}"
    return parts.tolist(), f"{text}."


def _groups_with_copies(
    features: Features, threshold: float, device: torch.device
) -> Sequence[str]:
    """The groups, joined if videos of two groups are near-duplicates."""
    with ProgressBar("comparing", "clips") as progress:
        pairs = find_pairs(features, threshold, centre_of(features), device, progress)
    return joined_groups(features.groups, pairs)


def _split_text(features: Features, groups: Sequence[str], parts: Sequence[str]) -> str:
    number = Counter(parts)
    text = (
        f"{number['train']} training and {number['test']} test videos of "
        f"{counted(len(set(groups)), 'group')} that share no recording and no copy "
        f"({len(set(features.groups))} recordings)."
    )
    in_part = {
        part: {c for c, p in zip(features.class_of, parts, strict=True) if p == part}
        for part in ("train", "test")
    }
    for part, other in (("train", "test"), ("test", "train")):
        if lacking := sorted(in_part[other] - in_part[part]):
            shown = ", ".join(printable(name) or "(no class)" for name in lacking[:5])
            more = f" and {len(lacking) - 5} more" if len(lacking) > 5 else ""
            text += (
                f"\nCareful: {shown}{more} {'has' if len(lacking) == 1 else 'have'} no "
                f"{'training' if part == 'train' else part} video: all are in one group, or linked "
                "to others by near-duplicates. Try a higher --threshold, or another --seed."
            )
    return text
