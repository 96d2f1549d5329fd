"""`ascnet select`: its options and help."""

import re
from typing import Any

import click

from ascnet.options import Number, UserPath, Whole, with_comparing_device
from evaluate.choices import WHOLE


class Shares(click.ParamType):
    """Two percentages that add up to 100, such as "70/30"."""

    name = "TRAIN/TEST"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        match = re.fullmatch(r"(\d+(?:\.\d+)?)/(\d+(?:\.\d+)?)", str(value))
        train, test = map(float, match.groups()) if match else (0.0, 0.0)
        if not (train > 0 < test and abs(train + test - 100) < 1e-9):
            self.fail(
                f"{value!r} is not a split; give two percentages that add up to 100, training "
                "first: 70/30.",
                param,
                ctx,
            )
        return test / 100


@click.command("select")
@click.argument("store", type=UserPath())
@click.option(
    "--count",
    metavar="N",
    type=Whole(1),
    help="Choose the N most diverse videos (k-centre) as the training part.",
)
@click.option(
    "--split",
    "test_share",
    type=Shares(),
    help="Split all videos, such as 70/30, with no recording and no near-duplicates on both sides.",
)
@click.option(
    "--out",
    metavar="FILE",
    required=True,
    type=UserPath(is_file=True),
    help="Table to write. As splits.csv in the folder of the videos, the next build reads it.",
)
@click.option(
    "--threshold",
    type=Number(min=0, min_open=True, max=1),
    default=WHOLE,
    show_default=True,
    help="Minimum score of near-duplicates, with --split, as in `ascnet near-duplicates`.",
)
@click.option(
    "--seed", type=int, default=0, show_default=True, help="Seed of the random order of --split."
)
@with_comparing_device
def command(device: str | None, **options: Any) -> None:
    """Choose videos of STORE to label or to train on, or split them all, and write a table for the
    next build.

    \b
    Which 200 videos should be labelled first?
      ascnet select STORE --count 200 --out chosen.csv
    A split without leaks:
      ascnet select STORE --split 70/30 --out VIDEOS/splits.csv
      ascnet build folder --source VIDEOS --name NAME --overwrite

    --count takes one video of every recording before a second one of any. If the store has a split,
    it chooses from the training part and leaves other parts unchanged; training videos that are not
    chosen are "unused" in the table.
    """
    from ascnet.actions.select import run
    from ascnet.device import pick_device

    run(device=pick_device(device), **options)
