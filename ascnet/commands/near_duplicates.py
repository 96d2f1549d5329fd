"""`ascnet near-duplicates`: its options and help."""

from typing import Any

import click

from ascnet.options import Number, UserPath, Whole, page_path, with_centring, with_comparing_device
from evaluate.choices import PART, WHOLE


@click.command("near-duplicates")
@click.argument("store", type=UserPath())
@click.option(
    "--threshold",
    type=Number(min=0, min_open=True, max=1),
    help=f"Minimum mean cosine of near-duplicate videos, or of shared parts.  [default: {WHOLE:g}; "
    f"with --parts {PART:g}]",
)
@click.option(
    "--parts",
    is_flag=True,
    help="Find parts that two videos share, however short, with start and end in both.",
)
@click.option(
    "--shortest",
    type=Number(min=0, min_open=True, max=1e6),
    default=2.0,
    show_default=True,
    help="Minimum duration of a shared part in seconds, with --parts.",
)
@click.option(
    "--csv",
    type=UserPath(is_file=True),
    help="CSV file to write with all pairs; with --leaks, only those across parts of a split.",
)
@click.option(
    "--groups",
    metavar="FILE",
    type=UserPath(is_file=True),
    help="Table of groups to write, in which the videos of every pair share a group. As splits.csv "
    "in the folder of the videos, the next build reads it.",
)
@click.option(
    "--html",
    metavar="FILE",
    type=UserPath(is_file=True),
    callback=page_path,
    help="Page to write, on which you watch copies and decide which to keep; it saves the table "
    "for `ascnet build --without`.",
)
@click.option(
    "--source",
    type=UserPath(is_folder=True),
    help="Folder of the videos, with --html, to compare their resolution and file size.",
)
@click.option(
    "--show",
    type=Whole(0),
    default=40,
    show_default=True,
    help="Number of pairs to print, and of groups on the page, best first.",
)
@click.option(
    "--leaks", "only_leaks", is_flag=True, help="List only pairs across the parts of a split."
)
@with_centring
@with_comparing_device
def command(device: str | None, **options: Any) -> None:
    """Find near-duplicate videos in STORE: copies, re-encoded or trimmed ones, parts.

    \b
    score   mean cosine of each clip of the shorter video with the nearest clip
            of the other (with equally many clips: the larger of the two means)
    group   videos that pairs link, directly or through other videos
    split   the two are in different parts of a split, such as train and test:
            a leak

    A video that is a part of another one is found if the store has a clip every second or so
    (ascnet embed), a mirrored copy if it was made with --mirrored, a rotated one with --turned.
    With --parts, it also finds a trailer in a film, a cut of another length, or an intro that many
    share, also at 0.8 to 1.25 times the speed; the store needs closely spaced clips (ascnet embed
    --every 0.25).

    \b
    Keep all copies on one side of a split:
      ascnet near-duplicates STORE --groups VIDEOS/splits.csv
      ascnet build folder --source VIDEOS --name NAME --overwrite
    Look, decide which copies to keep, and build without the others:
      ascnet near-duplicates STORE --html copies.html --source VIDEOS
      ascnet build folder --source VIDEOS --name NAME --overwrite \\
          --without decisions.csv
    """
    from ascnet.actions.near_duplicates import run
    from ascnet.device import pick_device

    run(device=pick_device(device), **options)
