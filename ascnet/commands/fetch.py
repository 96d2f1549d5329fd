"""`ascnet fetch`."""

from pathlib import Path

import click

from ascnet.options import OneOf, UserPath
from ascnet.progress import ProgressBar
from builder.command_line import command_line
from builder.download.fetch import FetchSettings, fetch
from builder.download.http import DownloadSettings
from builder.download.official import DATASETS, PUBLISHED


@click.command("fetch")
@click.argument("dataset", metavar="DATASET", type=OneOf(list(DATASETS)))
@click.option(
    "--to",
    type=UserPath(),
    help="Folder of the data set.  [default: data/DATASET]",
)
@click.option(
    "--part",
    "parts",
    multiple=True,
    metavar="NAME",
    help="Part of kinetics400: train, val or test; may be given several times.  [default: train "
    "and val]",
)
@click.option("--keep-archives", is_flag=True, help="Keep the archives after they are unpacked.")
@click.option(
    "--base-url",
    metavar="URL",
    help="Mirror that replaces scheme and host of the official URLs; paths remain.",
)
@click.option(
    "--insecure",
    is_flag=True,
    help="Accept invalid TLS certificates: the download may then come from anyone.",
)
def command(
    dataset: str,
    to: Path | None,
    parts: tuple[str, ...],
    keep_archives: bool,
    base_url: str | None,
    insecure: bool,
) -> None:
    """Download DATASET from its official source and unpack it.

    \b
    ucf101       about 6.5 GB; needs a program that unpacks rar, such as unar
    hmdb51       about 2 GB; also needs such a program
    kinetics400  about 450 GB

    To continue an interrupted download, repeat the command. Archives that are already in the folder
    are used.
    """
    folder = to or Path("data") / dataset
    settings = FetchSettings(base_url, keep_archives, DownloadSettings(insecure=insecure))
    summary = fetch(DATASETS[dataset], folder, settings, parts, ProgressBar)
    source = () if to is None else ("--source", folder)
    building = command_line("ascnet", "build", dataset, *source)
    if not summary.fetched:
        click.echo(f"{folder} is up to date.")
    if unknown := [file.name for file in DATASETS[dataset].files if file.url not in PUBLISHED]:
        click.echo(
            f"No checksum of {', '.join(unknown)} is published; it was verified by those in the "
            "archive."
        )
    if DATASETS[dataset].parts:
        click.echo(
            "No checksums of these files are published; they were verified by those in the "
            "archives."
        )
    click.echo(
        f"{folder}: {summary.fetched} of {summary.files} files downloaded now, "
        f"{summary.bytes / 1e6:.1f} MB in total, {summary.unpacked} files unpacked; next: "
        f"{building}"
    )
