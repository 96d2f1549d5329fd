"""`ascnet info`."""

import json
from dataclasses import asdict
from pathlib import Path

import click

from ascnet.options import UserPath
from builder.shards.dataset import ShardDataset, find_datasets
from builder.shards.elsewhere import unfinished_text
from builder.shards.info import overview
from builder.shards.info_text import render


@click.command("info")
@click.argument("shards", type=UserPath(), default=Path("shards"))
@click.option("--classes", is_flag=True, help="List every class with its number of videos.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print a JSON list with an object for each data set."
)
def command(shards: Path, classes: bool, as_json: bool) -> None:
    """Show the content of SHARDS, a data set or a folder of several. [default: shards]

    Only dataset.json and videos.jsonl are read, so this takes seconds even for large data sets.
    """
    datasets = [ShardDataset(folder) for folder in find_datasets(shards)]
    overviews = (overview(one.manifest, one.rows(), str(one.folder)) for one in datasets)
    if as_json:
        click.echo(json.dumps([asdict(one) for one in overviews], indent=1))
        return
    for i, one in enumerate(overviews):
        click.echo(("\n" if i else "") + render(one, classes))
    if text := unfinished_text(shards):
        click.echo(f"\nLeft out: {text}")
