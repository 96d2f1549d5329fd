"""`ascnet show`."""

import io
from pathlib import Path

import click

from ascnet.options import UserPath, Whole
from builder.atomic import write_atomically
from builder.errors import BuilderUsageError
from builder.shards.contact_sheet import draw_sheet, find_video
from builder.shards.dataset import ShardDataset, find_datasets


@click.command("show")
@click.argument("shards", type=UserPath())
@click.option("--video", required=True, metavar="N|NAME", help="Key or full name of the video.")
@click.option("--out", type=UserPath(), help="PNG file to write.  [default: sheet-<key>.png]")
@click.option(
    "--frames",
    type=Whole(1, 1000),
    default=32,
    show_default=True,
    help="Number of frames to draw, evenly spaced.",
)
def command(shards: Path, video: str, out: Path | None, frames: int) -> None:
    """Draw the frames of one video in the data set SHARDS in a grid, with its metadata."""
    folders = find_datasets(shards)
    if len(folders) > 1:
        raise BuilderUsageError(
            f"{shards} holds {len(folders)} data sets; name one of them: "
            f"{', '.join(map(str, folders))}."
        )
    chosen = find_video(ShardDataset(folders[0]), video)
    out = out or Path(f"sheet-{chosen.location.key}.png")
    if out.suffix.lower() != ".png":
        raise BuilderUsageError(f"--out is {str(out)!r}; sheets are PNG, so end the name in .png.")
    sheet = draw_sheet(chosen, frames)
    out.parent.mkdir(parents=True, exist_ok=True)
    content = io.BytesIO()
    sheet.save(content, format="PNG")
    write_atomically(out, content.getbuffer())
    click.echo(out)
