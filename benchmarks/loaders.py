"""Compare `ascnet.clip_batches`, the loader for other training scripts, with stock webdataset and
LitData on the same clips.

    python -m benchmarks.run_all loaders      (CLIPS=folder LITDATA=python ROUNDS=5 SECONDS=4)

All yield the same kind of batches: 16 videos in random order, two random clips of 16 frames of
each, at strides 1 and 2, centre-cropped, resized to 112 pixels and normalised. All decode the same
JPEGs, byte for byte, with two threads or two worker processes. Every round of every loader runs in
a process of its own; timing starts at its ninth batch, while more are being read.

LitData is measured if LITDATA names a Python that has it. It needs an environment of its own, as it
installs Pillow, which would replace pillow-simd.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

import ascnet
from benchmarks import webdataset_loader
from benchmarks.clips_of_jpegs import BATCH, LENGTH, SIZE, STRIDES, WORKERS
from benchmarks.loader_process import Loaded, run, work
from benchmarks.side_by_side import Measured, alternate, rate, ratio
from builder.shards.dataset import Video
from trainer.data.augment import STD, square_crop
from trainer.data.clip_batches import CROPPED, ClipBatches
from trainer.data.clip_reader import ClipReader, read_batches
from trainer.data.clip_sampler import ClipRequest

OURS = "ascnet.clip_batches"
WITHOUT_LITDATA = (
    "LitData is not measured: LITDATA names no Python that has it. It brings Pillow, which would "
    "replace pillow-simd, so give it an environment of its own: python3 -m venv litdata && "
    "litdata/bin/pip install litdata, then LITDATA=litdata/bin/python"
)


@dataclass(frozen=True)
class Loader:
    """A loader to measure.

    Attributes:
        command: starts its process; seconds, or the file for its first batch, are appended
        files: that it reads
    """

    command: tuple[str, ...]
    files: tuple[Path, ...]

    @property
    def size(self) -> int:
        """Size of its files in bytes."""
        return sum(path.stat().st_size for path in self.files)


def our_batches(shards: Path) -> ClipBatches:
    return ascnet.clip_batches(
        shards,
        frames=LENGTH,
        strides=STRIDES,
        clips=2,
        size=SIZE,
        batch=BATCH,
        output=CROPPED,
        workers=WORKERS,
    )


def our_clips(videos: Sequence[Video], numbers: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
    """Load the clips of another loader's batch with ours, given the numbers of its videos (B) and
    frames (B x 2 x T): float32, 2B x 3 x T x S x S."""
    requests = [
        ClipRequest(video, tuple(clips[i]), STRIDES[i])
        for i in range(2)
        for video, clips in zip(numbers.tolist(), frames.tolist(), strict=True)
    ]
    (clips,) = (square_crop(b.clips, SIZE) for b in read_batches(ClipReader(videos), [requests]))
    return clips


def difference(loader: Loader, videos: Sequence[Video]) -> float:
    """Mean absolute difference (0 .. 255) between a loader's first batch and the same clips from
    our loader."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "first.pt"
        subprocess.run([*loader.command, str(file)], check=True)
        clips, numbers, frames = torch.load(file, weights_only=True)
    gap = (clips - our_clips(videos, numbers, frames)).abs().mean((0, 2, 3, 4))
    return float((gap * torch.tensor(STD)).mean() * 255)


def loaders_of(videos: Sequence[Video], shards: Path, work_folder: Path) -> dict[str, Loader]:
    """Pack the same videos for each loader in `work_folder`, an empty folder; return the
    loaders."""
    this = (sys.executable, "-m")
    ours = tuple(sorted({video.shard for video in videos}))
    loaders = {OURS: Loader((*this, "benchmarks.loaders", str(shards)), ours)}
    tars = work_folder / "tars"
    webdataset_loader.pack(videos, tars)
    for how, words in (("needed", "frames of the clips"), ("all", '.decode("rgb8"), all frames')):
        command = (*this, "benchmarks.webdataset_loader", str(tars), how)
        loaders[f"webdataset, {words}"] = Loader(command, tuple(tars.iterdir()))
    if python := os.environ.get("LITDATA"):
        chunks = work_folder / "chunks"
        command = (python, "-m", "benchmarks.run_litdata")
        subprocess.run([*command, "pack", str(tars), str(chunks)], check=True, capture_output=True)
        files = tuple(chunks.iterdir())
        loaders["LitData, frames of the clips"] = Loader((*command, "load", str(chunks)), files)
    else:
        print(WITHOUT_LITDATA)
    return loaders


def bench_loaders(shards: Path, work_folder: Path, rounds: int, seconds: float) -> None:
    """Run and print the comparison. `work_folder` must be an empty folder."""
    videos = our_batches(shards).videos
    loaders = loaders_of(videos, shards, work_folder)
    loaded: dict[str, list[Loaded]] = {name: [] for name in loaders}

    def one_of(name: str) -> Measured:
        one = run(loaders[name].command, seconds)
        loaded[name].append(one)
        return Measured(one.seconds, 0.0, one.clips)

    gaps = {name: difference(loaders[name], videos) for name in loaders if name != OURS}
    runs = alternate({name: lambda name=name: one_of(name) for name in loaders}, rounds)
    print(
        f"Loaders, {len(videos)} videos; batches of {2 * BATCH} clips of {LENGTH} frames of "
        f"{SIZE} pixels, {WORKERS} threads or processes; medians of {rounds} rounds"
    )
    for name, loader in loaders.items():
        speed, memory = rate(runs[name]), max(one.memory for one in loaded[name])
        print(
            f"  {name:<42} {speed.median:7.1f} clips/s ({speed.low:.1f} .. {speed.high:.1f})  "
            f"{memory / 2**30:5.2f} GiB at most  {loader.size / 1e6:6.1f} MB on disk"
        )
    for name, gap in gaps.items():
        r = ratio(runs[OURS], runs[name])
        print(
            f"  ours against {name:<42} x {r.median:.2f} ({r.low:.2f} .. {r.high:.2f}); the same "
            f"clips differ by {gap:.2f} of 255"
        )
    print("  memory: of a process and its workers, without mapped files such as libraries")


def _of_ours(shards: Path) -> Iterator[tuple[torch.Tensor]]:
    return ((batch.clips,) for batch in our_batches(shards))


if __name__ == "__main__":
    work(_of_ours(Path(sys.argv[1])), sys.argv[2])
