"""`make bench`: reading and building, ours beside the usual ways, in one run.

Reading: the same clip of every video (16 frames at stride 2, whole frames as uint8 arrays). The
usual way is a tar member a frame, read by stock webdataset and decoded by pillow-simd, one process.
Building: see bench_building.py.
"""

import io
import os
import shutil
import tarfile
import tempfile
from pathlib import Path

import numpy as np
import webdataset
from PIL import Image

from builder.build import BuildSettings, How, build
from builder.catalog import shapes
from builder.catalog.source import Catalog
from builder.shard import ShardDataset, read_frames, read_offsets
from tests.bench_building import bench_building
from tests.side_by_side import side_by_side
from trainer.clips import ClipReader, ClipRequest, read_batches
from trainer.sampling import clip_frames, random_start

ROUNDS = 5
VIDEOS = 96
FRAMES, STRIDE, BATCH = 16, 2, 8
CORES = os.cpu_count() or 1


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


def bench_reading(catalog: Catalog, work: Path) -> None:
    build(catalog, work / "ours", BuildSettings(), How(workers=CORES))
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
        ROUNDS,
    )


def main() -> None:
    """CLIPS=folder: build these videos; else some of `shapes`."""
    with tempfile.TemporaryDirectory() as name:
        catalog = some_videos(Path("data/shapes"))
        bench_reading(catalog, Path(name))
        clips = os.environ.get("CLIPS")
        if not clips:
            clips = str(Path(name) / "clips")
            for video in catalog.videos:
                copy = Path(clips) / video.name
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(video.path, copy)
        bench_building(Path(clips), Path(name), ROUNDS)


if __name__ == "__main__":
    main()
