"""`ascnet build`."""

import re
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from ascnet.options import Number, OneOf, UserPath, Whole, gathered, no_more
from ascnet.progress import ProgressBar
from builder.build.build import BuildSettings, BuildSummary, How, build
from builder.catalog import shapes
from builder.catalog.all_datasets import READERS
from builder.catalog.decisions import leave_out
from builder.catalog.source import Catalog
from builder.command_line import quoted
from builder.cores import usable_cores
from builder.counted import counted
from builder.decode.engine import ENGINES, must_have_engine
from builder.decode.frames import CHROMA, REASONS, WARNINGS, FrameSettings
from builder.errors import BuilderUsageError
from builder.printable import printable
from builder.video_limits import GB, Limits

_SHOWN = 5  # names of files and folders left alone, in a message


@dataclass(frozen=True)
class Target:
    """The data set to build, and where to write it.

    Attributes:
        without: table of videos to keep and to drop
    """

    dataset: str
    source: Path | None
    without: Path | None
    out: Path
    name: str | None

    def catalog(self, workers: int) -> Catalog:
        source = self.source or Path("data") / self.dataset
        if self.dataset == "shapes":
            with ProgressBar("drawing", "videos") as progress:
                shapes.make(source, workers, progress)
        catalog = READERS[self.dataset](source)
        if self.without is not None:
            catalog = leave_out(catalog, self.without)
        return catalog if self.name is None else replace(catalog, dataset=self.name)


def _plain_name(context: click.Context, option: click.Parameter, name: str | None) -> str | None:
    if name is not None and (not re.fullmatch(r"[\w.-]+", name) or name in (".", "..")):
        raise BuilderUsageError(
            f"--name is {name!r}; it may have letters, digits, '_', '.' and '-', and may not be "
            "'.' or '..'. It becomes the name of the folder in --out."
        )
    return name


def _range(context: click.Context, option: click.Parameter, text: str | None) -> slice | None:
    """Parse "3:7", "3:" or ":7" as a slice."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d*):(\d*)", text)
    if match is None or (match[1] and match[2] and int(match[1]) >= int(match[2])):
        raise BuilderUsageError(
            f"--shards-range is {text!r}; it must be A:B, such as 0:8 for the shards 0 to 7."
        )
    return slice(int(match[1] or 0), int(match[2]) if match[2] else None)


class DatasetName(OneOf):
    """One of the data sets. A folder in its place was meant as the source."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value and value not in self.choices and Path(value).is_dir():
            name = Path(value).name if Path(value).name in self.choices else "folder"
            command = f"ascnet build {name} --source {quoted(Path(value))}"
            self.fail(f"{printable(value)!r} is a folder. To build it: {command}", param, ctx)
        return super().convert(value, param, ctx)


def _one_too_many(word: str) -> str:
    if word in READERS:
        return "Build one data set at a time."
    return f"The folder of the videos, or their list, follows --source: --source {quoted(word)}"


@click.command("build")
@click.argument("dataset", metavar="DATASET", type=DatasetName(sorted(READERS)))
@no_more(_one_too_many)
@click.option(
    "--source",
    type=UserPath(),
    help="Folder of the videos (csv: the list).  [default: data/DATASET]",
)
@click.option(
    "--without",
    metavar="FILE",
    type=UserPath(is_file=True),
    help="Table of videos to leave out (CSV: video,decision), such as the page of near-duplicates "
    "--html saves.",
)
@click.option(
    "--out",
    type=UserPath(),
    default=Path("shards"),
    show_default=True,
    help="Parent folder for the shards of all data sets.",
)
@click.option(
    "--name",
    callback=_plain_name,
    help="Name of the data set; the shards go to OUT/NAME.  [default: DATASET]",
)
@click.option(
    "--short-side",
    type=Whole(16, 4096),
    default=FrameSettings.short_side,
    show_default=True,
    help="Short side of the frames in pixels; 256 for networks with 224 x 224 input.",
)
@click.option(
    "--jpeg-quality",
    type=Whole(2, 10),
    default=FrameSettings.jpeg_quality,
    show_default=True,
    help="JPEG quality from 2 (best, largest files) to 10, as ffmpeg's -q:v.",
)
@click.option(
    "--chroma",
    type=OneOf(CHROMA),
    default=FrameSettings.chroma,
    show_default=True,
    help="Chroma subsampling of the JPEG frames.",
)
@click.option(
    "--fps",
    type=Number(min=0, min_open=True, max=1000),
    help="Resample to this frame rate.  [default: every frame of the file]",
)
@click.option(
    "--max-frames",
    type=Whole(1),
    help="Keep at most this many frames from the start of a video.  [default: all]",
)
@click.option(
    "--min-frames",
    type=Whole(1),
    default=FrameSettings.min_frames,
    show_default=True,
    help="Minimum number of frames; videos with fewer fail as too short.",
)
@click.option(
    "--videos-per-shard",
    type=Whole(1),
    default=BuildSettings.videos_per_shard,
    show_default=True,
    help="Maximum number of videos in a shard.",
)
@click.option(
    "--engine",
    type=OneOf(list(ENGINES)),
    default=FrameSettings.engine,
    show_default=True,
    help="Decoder; pyav is faster, with larger files (pip install 'ascnet[pyav]').",
)
@click.option("--shots", is_flag=True, help="Find cuts, so that every clip lies inside one shot.")
@click.option(
    "--workers",
    type=Whole(1),
    default=usable_cores,
    show_default="cores",
    help="Number of videos decoded in parallel; with Ray, one per core of the cluster.",
)
@click.option(
    "--timeout",
    "seconds",
    type=Number(min=1, max=1e6),
    default=Limits.seconds,
    show_default=True,
    help="Seconds after which the decoding of a video fails.",
)
@click.option(
    "--max-pixels",
    "pixels",
    type=Whole(1, 2**31 - 1),
    default=Limits.pixels,
    show_default="8192 x 8192",
    help="Maximum number of pixels in a frame; videos with more fail as too large.",
)
@click.option(
    "--max-aspect",
    "aspect",
    type=Number(1, 1e6),
    default=Limits.aspect,
    show_default=True,
    help="Maximum ratio of long to short side; videos beyond it fail as too elongated.",
)
@click.option(
    "--max-memory",
    "memory",
    callback=lambda context, option, gigabytes: round(gigabytes * GB),
    type=Number(0.25, 1e6),
    default=Limits.memory / GB,
    show_default=True,
    help="Memory in GB for decoding one video; videos that need more fail as too large.",
)
@click.option(
    "--retry-failed",
    is_flag=True,
    help="Retry videos that failed in an earlier build, on this machine.",
)
@click.option("--strict", is_flag=True, help="Exit with status 1 if any video failed.")
@click.option(
    "--max-failures",
    type=Whole(0),
    help="Stop if more than this many videos fail.  [default: never]",
)
@click.option("--overwrite", is_flag=True, help="Replace an existing build.")
@click.option(
    "--executor",
    type=OneOf(["local", "ray"]),
    default="local",
    show_default=True,
    help="Where to build; ray: on a Ray cluster, one task per shard (pip install 'ascnet[ray]').",
)
@click.option(
    "--shards-range",
    "shards",
    callback=_range,
    metavar="A:B",
    help="Build only shards A to B-1, for example in a SLURM array job; combine them with "
    "--finish.",
)
@click.option(
    "--finish", "finish_only", is_flag=True, help="Combine shards built with --shards-range."
)
@gathered(target=Target, settings=BuildSettings, how=How)
def command(target: Target, settings: BuildSettings, how: How, strict: bool) -> None:
    """Transcode the videos of DATASET into frame-JPEG WebDataset shards.

    \b
    shapes          the synthetic data set: 768 short videos, generated here
    ucf101          UCF-101/<Class>/v_<Class>_gNN_cNN.avi
    hmdb51          hmdb51_org/<class>/*.avi and the official split lists
    kinetics400     train/, val/, test/ and the official lists (also 600, 700)
    folder          any tree of videos; the first folder level is the class
    csv             a list of videos: path,label,group,split

    To continue an interrupted build, repeat the command.

    \b
      ascnet build ucf101
      ascnet build folder --source my_videos --name mine
    """
    _must_fit_together(settings.frames, how, strict)
    catalog = target.catalog(how.workers)
    for remark in catalog.remarks:
        click.echo(printable(remark))
    with ProgressBar("building", "videos") as progress:
        summary = build(catalog, target.out / catalog.dataset, settings, how, progress)
    _say(summary)
    if how.shards is not None and how.shards.start >= (planned := summary.shards_planned):
        click.echo(f"This range holds no shard; there are {planned}, numbered from 0.")
    if (counts := summary.counts) and counts["failed"]:
        if not counts["built"]:
            click.echo("No video could be built; the reasons are above.", err=True)
        if strict or not counts["built"]:
            sys.exit(1)


def _must_fit_together(frames: FrameSettings, how: How, strict: bool) -> None:
    must_have_engine(frames)
    if frames.max_frames is not None and frames.max_frames < frames.min_frames:
        raise BuilderUsageError(
            f"--min-frames {frames.min_frames} is more than --max-frames {frames.max_frames}, so "
            "every video would fail as too short."
        )
    others = {
        "--finish": how.finish_only,
        "--overwrite": how.overwrite,
        "--retry-failed": how.retry_failed,
        "--executor ray": how.executor == "ray",
        "--strict": strict,
    }
    if how.shards is not None:
        for option in (option for option, is_on in others.items() if is_on):
            raise BuilderUsageError(
                f"--shards-range and {option} cannot go together: several machines write at the "
                f"same time. Build all ranges first, then --finish, then give {option} alone."
            )
    if how.finish_only and how.overwrite:
        raise BuilderUsageError("--finish keeps what is built, --overwrite deletes it: choose one.")


def _say(summary: BuildSummary) -> None:
    counts, folder = summary.counts, summary.folder
    if counts is None:
        click.echo(f"{folder}: {summary.sentence()}{_speed(summary)}")
        click.echo(
            "When all ranges are built, repeat the command with --finish instead of --shards-range."
        )
        return
    if not summary.done_now:
        click.echo(f"{folder} is up to date.")
    click.echo(summary.sentence())
    for words, meanings in ((counts["failed"], REASONS), (counts["warnings"], WARNINGS)):
        for word in words:
            click.echo(f"  {word}: {meanings[word]}")
    if summary.changed:
        click.echo(
            f"The files of {summary.changed} failed videos have changed: --retry-failed builds "
            "them."
        )
    _say_left_alone(summary.left_alone)
    click.echo(
        f"{folder}: {counts['frames']} frames, {counts['bytes'] / 1e6:.1f} MB{_speed(summary)}; "
        f"a row for every video in {folder / 'videos.jsonl'}"
    )


def _say_left_alone(left_alone: tuple[tuple[str, str], ...]) -> None:
    """Print the names of files that were left alone, and folders with the reason, as each may hold
    many videos."""
    folders = [(name, reason) for name, reason in left_alone if name.endswith("/")]
    for name, reason in folders[:_SHOWN]:
        click.echo(f"{printable(name)} left alone: {printable(reason)}")
    if len(folders) > _SHOWN:
        click.echo(f"and {len(folders) - _SHOWN} more folders (videos.jsonl names them)")
    names = [printable(name) for name, _ in left_alone if not name.endswith("/")]
    if names:
        click.echo(
            f"{counted(len(names), 'file')} left alone: "
            f"{', '.join(names[:_SHOWN])}{', ...' if len(names) > _SHOWN else ''} (videos.jsonl "
            "says why)"
        )


def _speed(summary: BuildSummary) -> str:
    if not summary.done_now:
        return ""
    return f", {summary.done_now / summary.seconds:.1f} videos per second"
