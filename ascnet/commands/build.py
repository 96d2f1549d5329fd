"""`ascnet build`."""

import os
import re
from dataclasses import replace
from pathlib import Path

import click

from ascnet.progress import Progress
from builder.build import BuildSettings, Summary, build
from builder.catalog import READERS, shapes
from builder.errors import BuilderError
from builder.transcode import REASONS, WARNINGS, FrameSettings


@click.command("build")
@click.argument("dataset", type=click.Choice(sorted(READERS)))
@click.option(
    "--source",
    type=click.Path(path_type=Path),
    help="Folder of the videos.  [default: data/DATASET]",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("shards"),
    show_default=True,
    help="Folder of the shards of all data sets.",
)
@click.option(
    "--short-side",
    type=click.IntRange(16, 4096),
    default=FrameSettings.short_side,
    show_default=True,
    help="Short side of the frames, pixels.",
)
@click.option(
    "--workers",
    type=click.IntRange(1),
    default=lambda: os.cpu_count() or 1,
    show_default="cores",
    help="Videos decoded at a time.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=1),
    default=FrameSettings.timeout,
    show_default=True,
    help="Seconds that one video may take.",
)
@click.option("--name", help="Name of the data set; the shards go to OUT/NAME.  [default: DATASET]")
@click.option("--overwrite", is_flag=True, help="Build anew if there is a build already.")
def command(
    dataset: str,
    source: Path | None,
    out: Path,
    short_side: int,
    workers: int,
    timeout: float,
    name: str | None,
    overwrite: bool,
) -> None:
    """Transcode the videos of DATASET into frame-JPEG WebDataset shards.

    \b
    shapes   the embedded data set: 768 short videos, made here
    ucf101   UCF-101/<Class>/v_<Class>_gNN_cNN.avi
    folder   any tree of videos; the first folder level is the class

    A build that was interrupted goes on with the same command.
    """
    source = source or Path("data") / dataset
    if dataset == "shapes":
        with Progress("drawing", "videos") as progress:
            shapes.make(source, workers, progress)
    catalog = READERS[dataset](source)
    if name is not None:
        if not re.fullmatch(r"[\w.-]+", name):
            raise BuilderError(
                f"--name is {name!r}; letters, digits, '_', '.' and '-' are allowed."
            )
        catalog = replace(catalog, dataset=name)
    frames = FrameSettings(short_side=short_side, timeout=timeout)
    with Progress("building", "videos") as progress:
        summary = build(
            catalog, out / catalog.dataset, BuildSettings(frames), workers, progress, overwrite
        )
    _say(summary)


def _say(summary: Summary) -> None:
    counts = summary.counts
    if not summary.built_now:
        click.echo(f"{summary.folder} is up to date.")
    click.echo(summary.sentence())
    for words, meanings in ((counts["failed"], REASONS), (counts["warnings"], WARNINGS)):
        for word in words:
            click.echo(f"  {word}: {meanings[word]}")
    if summary.left_alone:
        names = [name for name, _ in summary.left_alone]
        click.echo(
            f"{len(names)} files left alone: {', '.join(names[:5])}"
            f"{', ...' if len(names) > 5 else ''} (videos.jsonl says why)"
        )
    click.echo(
        f"{summary.folder}: {counts['frames']} frames, {counts['bytes'] / 1e6:.1f} MB; a row for "
        f"every video in {summary.folder / 'videos.jsonl'}"
    )
