"""Reading and building, ours beside the usual way, in one run: `make bench`.

Reading: the same clip of every video (16 frames at stride 2, whole frames as uint8 arrays). The
usual way is a tar member a frame, read by stock webdataset and decoded by pillow-simd, one process.
Building: all videos with as many workers as cores. The usual way writes frames as files with
ffmpeg and packs them. Rounds alternate; medians and their ratio are printed.
"""

import io
import os
import shutil
import statistics
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import webdataset
from PIL import Image

from builder.build import BuildSettings, How, build
from builder.catalog import shapes
from builder.catalog.source import Catalog
from builder.ffmpeg_engine import find_ffmpeg
from builder.shard import ShardDataset, read_frames, read_offsets
from trainer.clips import ClipReader, ClipRequest, read_batches
from trainer.sampling import clip_frames, random_start

ROUNDS = 5
VIDEOS = 96
FRAMES, STRIDE, BATCH = 16, 2, 8
CORES = os.cpu_count() or 1


def side_by_side(title: str, unit: str, ways: dict[str, Callable[[], int]]) -> None:
    """Run the ways in turn; print the median rate of each and its ratio to the last one."""
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for work in ways.values():
        work()  # warm-up
    for _ in range(ROUNDS):
        for name, work in ways.items():
            began = time.perf_counter()
            count = work()
            rates[name].append(count / (time.perf_counter() - began))
    base = list(ways)[-1]
    print(f"{title} ({ROUNDS} rounds, medians)")
    for name, own in rates.items():
        ratios = [a / b for a, b in zip(own, rates[base], strict=True)]
        print(
            f"  {name:<52} {statistics.median(own):7.1f} {unit} "
            f"({min(own):.1f} .. {max(own):.1f})  x {statistics.median(ratios):.2f}"
        )


def some_videos(folder: Path) -> Catalog:
    """Every eighth video of `shapes`."""
    shapes.make(folder, CORES)
    catalog = shapes.read(folder)
    return Catalog(
        "shapes", catalog.root, catalog.videos[:: len(catalog.videos) // VIDEOS], catalog.classes
    )


def pack_frames(dataset: ShardDataset, path: Path) -> None:
    """The same JPEGs with a tar member a frame."""
    with tarfile.TarFile(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for video in dataset.videos:
            jpegs = read_frames(video, read_offsets(video), range(video.frames))
            for i, jpeg in enumerate(jpegs):
                member = tarfile.TarInfo(f"{video.location.key:09d}.{i:04d}.jpg")
                member.size = len(jpeg)
                tar.addfile(member, io.BytesIO(jpeg))


def one_clip_each(dataset: ShardDataset) -> list[ClipRequest]:
    """The same work for every way: a clip at a random place of every video."""
    rng, requests = np.random.default_rng(0), []
    for i, video in enumerate(dataset.videos):
        place = {"length": FRAMES, "stride": STRIDE, "frames": video.frames}
        start = random_start(rng, **place)
        requests.append(ClipRequest(i, clip_frames(start, **place), STRIDE))
    return requests


def read_ours(dataset: ShardDataset, requests: list[ClipRequest], workers: int) -> int:
    batches = [requests[i : i + BATCH] for i in range(0, len(requests), BATCH)]
    reader = ClipReader(dataset.videos)
    return sum(len(batch.videos) for batch in read_batches(reader, batches, workers))


def read_usual(path: Path, requests: list[ClipRequest]) -> int:
    clips = 0
    samples = webdataset.WebDataset(str(path), shardshuffle=False, empty_check=False)
    for sample, request in zip(samples, requests, strict=True):
        jpegs = [sample[f"{frame:04d}.jpg"] for frame in request.frames]
        np.stack([np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB")) for jpeg in jpegs])
        clips += 1
    return clips


def build_ours(catalog: Catalog, out: Path) -> int:
    shutil.rmtree(out, ignore_errors=True)
    build(catalog, out, BuildSettings(), How(workers=CORES))
    return len(catalog.videos)


def build_usual(catalog: Catalog, out: Path) -> int:
    shutil.rmtree(out, ignore_errors=True)

    def frames_of(i: int) -> Path:
        folder = out / f"{i:09d}"
        folder.mkdir(parents=True)
        command = [find_ffmpeg(), "-v", "error", "-i", str(catalog.videos[i].path)]
        command += ["-vf", "scale=-2:128", "-q:v", "3", str(folder / "%04d.jpg")]
        subprocess.run(command, check=True)
        return folder

    with ThreadPoolExecutor(CORES) as pool, tarfile.TarFile(out.with_suffix(".tar"), "w") as tar:
        for folder in pool.map(frames_of, range(len(catalog.videos))):
            for path in sorted(folder.iterdir()):
                tar.add(path, f"{folder.name}.{path.name}")
            shutil.rmtree(folder)
    return len(catalog.videos)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        catalog = some_videos(Path("data/shapes"))
        build_ours(catalog, work / "ours")
        dataset = ShardDataset(work / "ours")
        pack_frames(dataset, work / "frames.tar")
        requests = one_clip_each(dataset)
        side_by_side(
            f"Reading clips of {FRAMES} frames",
            "clips/s",
            {
                f"ours, {CORES} threads": lambda: read_ours(dataset, requests, CORES),
                "ours, 1 thread": lambda: read_ours(dataset, requests, 1),
                "webdataset, member a frame, pillow-simd, 1 process": lambda: read_usual(
                    work / "frames.tar", requests
                ),
            },
        )
        side_by_side(
            f"Building with {CORES} workers",
            "videos/s",
            {
                "ours: ffmpeg to a pipe, one blob a video": lambda: build_ours(
                    catalog, work / "ours2"
                ),
                "frames as files, then tar": lambda: build_usual(catalog, work / "usual"),
            },
        )


if __name__ == "__main__":
    main()
