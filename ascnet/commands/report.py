"""`ascnet report`: its options and help."""

from typing import Any

import click

from ascnet.options import UserPath, page_path


@click.command("report")
@click.argument("run", type=UserPath(), required=False)
@click.option(
    "--out",
    type=UserPath(is_file=True),
    callback=page_path,
    help="File to write.  [default: report.html in the run]",
)
def command(**options: Any) -> None:
    """Write a web page about RUN: settings, training curves, results, retrieved videos, a map of
    the features, and videos that failed to build. The page is one self-contained file. [default:
    the newest in runs/]"""
    from ascnet.actions.report import run

    run(**options)
