"""`make bench`: compare ascnet with common alternatives: loading, the loader for other scripts,
training steps, streaming, building, retrieval.

    python -m benchmarks.run_all [loading] [loaders] [step] [streaming] [building] [retrieval]
    (make: PARTS="loading step")

CLIPS=folder: load and build these videos, instead of some of `shapes`. ROUNDS=5: rounds of every
way, in turn. SECONDS=4: approximate duration of a round of loading.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

from benchmarks.building import bench_building
from benchmarks.loaders import bench_loaders
from benchmarks.loading import bench_loading
from benchmarks.retrieval import bench_retrieval
from benchmarks.step import bench_step
from benchmarks.streaming import bench_streaming
from builder.build.build import BuildSettings, How, build
from builder.catalog import folder, shapes
from builder.catalog.source import Catalog
from builder.cores import usable_cores
from builder.shards.dataset import ShardDataset

ROUNDS = int(os.environ.get("ROUNDS", "5"))
SECONDS = float(os.environ.get("SECONDS", "4"))
PARTS = ("loading", "loaders", "step", "streaming", "building", "retrieval")
VIDEOS = 96
CORES = usable_cores()


def some_shapes() -> Catalog:
    """Every eighth video of `shapes`."""
    root = Path("data/shapes")
    shapes.make(root, CORES)
    catalog = shapes.read(root)
    few = catalog.videos[:: len(catalog.videos) // VIDEOS]
    return Catalog("shapes", catalog.root, few, catalog.classes)


def shards(catalog: Catalog, where: Path) -> ShardDataset:
    if not where.exists():
        build(catalog, where, BuildSettings(), How(workers=CORES))
    return ShardDataset(where)


def copies(catalog: Catalog, where: Path) -> Path:
    """Copy the videos of the catalog into a folder."""
    for video in catalog.videos:
        (where / video.name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(video.path, where / video.name)
    return where


def main(parts: list[str]) -> None:
    if unknown := set(parts) - set(PARTS):
        sys.exit(f"There is no benchmark {', '.join(unknown)}; there are {', '.join(PARTS)}.")
    if "retrieval" in parts:
        bench_retrieval(ROUNDS)
    if set(parts) <= {"retrieval"}:
        return
    given = os.environ.get("CLIPS")
    with tempfile.TemporaryDirectory() as name:
        work, made = Path(name), some_shapes()
        clips = Path(given).resolve() if given else copies(made, work / "clips")
        if {"loading", "loaders"} & set(parts):
            dataset = shards(folder.read(clips), work / "loading")
        if "loading" in parts:
            (work / "tars").mkdir()
            bench_loading(dataset, clips, work / "tars", ROUNDS, SECONDS)
        if "loaders" in parts:
            (work / "loaders").mkdir()
            bench_loaders(dataset.folder, work / "loaders", ROUNDS, SECONDS)
        if "step" in parts:
            bench_step(shards(made, work / "shapes").folder, work / "run", ROUNDS)
        if "streaming" in parts:
            bench_streaming(folder.read(clips), work / "streaming", ROUNDS, SECONDS)
        if "building" in parts:
            bench_building(clips, work, ROUNDS)


if __name__ == "__main__":
    main(sys.argv[1:] or list(PARTS))
