"""`ascnet fetch`."""

from pathlib import Path

import click

from ascnet.options import OneOf, UserPath
from ascnet.progress import ProgressBar
from builder.command_line import command_line, quoted
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
    help="kinetics400: train, val or test; may be given again.  [default: train and val]",
)
@click.option("--keep-archives", is_flag=True, help="Keep the archives when they are unpacked.")
@click.option(
    "--base-url",
    metavar="URL",
    help="A mirror: stands for scheme and host of every official URL, the path stays.",
)
@click.option(
    "--insecure",
    is_flag=True,
    help="Do not ask servers for a valid TLS certificate: what comes may be from anyone.",
)
def command(
    dataset: str,
    to: Path | None,
    parts: tuple[str, ...],
    keep_archives: bool,
    base_url: str | None,
    insecure: bool,
) -> None:
    """Download DATASET from its official place and unpack it.

    \b
    ucf101       about 6.5 GB; needs a program that unpacks rar (unrar, unar, bsdtar)
    hmdb51       about 2 GB; needs one, too
    kinetics400  about 450 GB

    A download that was interrupted goes on with the same command. An archive that lies in the
    folder already is used.
    """
    folder = to or Path("data") / dataset
    settings = FetchSettings(base_url, keep_archives, DownloadSettings(insecure=insecure))
    summary = fetch(DATASETS[dataset], folder, settings, parts, ProgressBar)
    building = f"make shards DATASET={dataset}{'' if to is None else f' SOURCE={to}'}"
    if quoted(folder) != str(folder):  # make reads some characters in its own way
        building = command_line("ascnet", "build", dataset, "--source", folder)
    if not summary.fetched:
        click.echo(f"{folder} is up to date.")
    if unknown := [file.name for file in DATASETS[dataset].files if file.url not in PUBLISHED]:
        click.echo(
            f"No checksum of {', '.join(unknown)} is published: checked by those in the archive."
        )
    if DATASETS[dataset].parts:
        click.echo("No checksums of these files are published: checked by those in the archives.")
    click.echo(
        f"{folder}: {summary.fetched} of {summary.files} files fetched now, "
        f"{summary.bytes / 1e6:.1f} MB in all, {summary.unpacked} files unpacked; next: "
        f"{building}"
    )
