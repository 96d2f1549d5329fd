"""`ascnet verify`."""

import sys
from pathlib import Path

import click

from ascnet.options import UserPath, Whole
from ascnet.progress import ProgressBar
from builder.cores import usable_cores
from builder.counted import counted
from builder.printable import printable
from builder.shards.dataset import find_datasets
from builder.shards.elsewhere import unfinished_text
from builder.shards.verify import Report, verify

_SHOWN = 50  # problems printed at most


@click.command("verify")
@click.argument("shards", type=UserPath(), default=Path("shards"))
@click.option("--deep", is_flag=True, help="Also decode every frame.")
@click.option(
    "--workers",
    type=Whole(1),
    default=usable_cores,
    show_default="cores",
    help="Number of shards read in parallel.",
)
def command(shards: Path, deep: bool, workers: int) -> None:
    """Check that SHARDS (a data set, or a folder of several) are unchanged since they were built.
    [default: shards]

    The exit status is 1 if anything has changed; the affected samples are named.
    """
    reports = []
    for folder in find_datasets(shards):
        with ProgressBar(f"verifying {folder.name}", "MB") as progress:

            def show(done: int, total: int, text: str, progress: ProgressBar = progress) -> None:
                progress(done // 10**6, -(-total // 10**6), text)

            reports.append(verify(folder, deep, workers, show))
        _say(reports[-1])
    if text := unfinished_text(shards):
        click.echo(f"Left out: {text}")
    if any(report.problems for report in reports):
        sys.exit(1)


def _say(report: Report) -> None:
    for problem in report.problems[:_SHOWN]:
        click.echo(printable(problem))
    if len(report.problems) > _SHOWN:
        click.echo(f"... and {len(report.problems) - _SHOWN} more")
    if report.links:
        more = f" and {len(report.links) - 1} more" if len(report.links) > 1 else ""
        click.echo(f"{report.folder}: shards that are links: {report.links[0]}{more}")
    what = f"{counted(report.shards, 'shard')}, {counted(report.samples, 'video')}"
    what += f", {report.bytes / 1e6:.1f} MB"
    if report.frames:
        what += f", {report.frames} frames decoded"
    if not report.problems:
        click.echo(f"{report.folder}: {what}: all as built")
        return
    advice = ""
    if report.unread:
        advice += " Check the disk and the permissions of what could not be read."
    if len(report.problems) > report.unread:
        advice += " Copy the shards again from an intact copy, or rebuild them with --overwrite."
    click.echo(f"{report.folder}: {what}: {counted(len(report.problems), 'problem')}.{advice}")
