"""`ascnet near-duplicates`: its options and help."""

from typing import Any

import click

from ascnet.options import NumberRange, UserPath, page_path, with_centring, with_device
from evaluate.choices import PART, WHOLE


@click.command("near-duplicates")
@click.argument("store", type=UserPath())
@click.option(
    "--threshold",
    type=NumberRange(min=0, min_open=True, max=1),
    help=f"Mean cosine from which two videos, or parts of them, are nearly the same.  [default: "
    f"{WHOLE:g}; with --parts {PART:g}]",
)
@click.option(
    "--parts",
    is_flag=True,
    help="Find what two videos share, with its limits in both, however little of either it is.",
)
@click.option(
    "--shortest",
    type=NumberRange(min=0, min_open=True, max=1e6),
    default=2.0,
    show_default=True,
    help="With --parts: seconds that a part lasts at least.",
)
@click.option(
    "--csv",
    type=UserPath(dir_okay=False),
    help="Write the pairs here, however many are printed; with --leaks only those.",
)
@click.option(
    "--groups",
    metavar="FILE",
    type=UserPath(dir_okay=False),
    help="Write groups for the next build here, the videos of all pairs (also those that are not "
    "printed) in one each: VIDEOS/splits.csv.",
)
@click.option(
    "--html",
    metavar="FILE",
    type=UserPath(dir_okay=False),
    callback=page_path,
    help="Write a page here where the copies play and you decide which to keep; it saves the "
    "table for `ascnet build --without`.",
)
@click.option(
    "--source",
    type=UserPath(exists=True, file_okay=False),
    help="With --html: folder of the videos, for the sizes of their pictures.",
)
@click.option(
    "--show",
    type=click.IntRange(0),
    default=40,
    show_default=True,
    help="Pairs to print, and groups on the page: the best ones.",
)
@click.option("--leaks", "only_leaks", is_flag=True, help="Only pairs across the parts of a split.")
@with_centring
@with_device
def command(device: str | None, **options: Any) -> None:
    """Videos of STORE that are nearly the same: copies, re-encoded or trimmed ones, parts.

    \b
    score   mean, over the clips of the shorter one, of the cosine with the nearest of the other;
            the larger one of the two means if both have equally many clips
    group   videos that a chain of pairs links
    split   a warning: the two are in different parts of a split (train and test!)

    A video that is a part of another one is found where the store has a clip every second or so
    (ascnet embed), mirror images where it was made with --mirrored, turned ones with --turned.
    With --parts also a trailer in a film, a cut of another length, an intro that many share, played
    at 0.8 to 1.25 times the speed; the store needs clips close together (ascnet embed --every
    0.25).

    \b
    Keep all copies on one side of a split:
      ascnet near-duplicates STORE --groups VIDEOS/splits.csv
      ascnet build folder --source VIDEOS --overwrite
    Look, decide which copies to keep, and build without the others:
      ascnet near-duplicates STORE --html copies.html --source VIDEOS
      ascnet build folder --source VIDEOS --without decisions.csv --overwrite
    """
    from ascnet.actions.near_duplicates import run
    from ascnet.device import pick_device

    run(device=pick_device(device), **options)
