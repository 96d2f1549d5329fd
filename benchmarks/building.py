"""Compare building shards with common alternatives, on the same videos.

Each way processes as many videos at a time as there are cores. "ffmpeg alone" is one static ffmpeg
process per video that decodes and discards the frames, or one that decodes, scales, encodes and
discards them: lower bounds of builders with ffmpeg. The common way writes frames as files, with one
ffmpeg process per video, and packs them with tar; it is measured with the system's ffmpeg, if there
is one, and with ours.
video2dataset is measured if VIDEO2DATASET names a Python that has it; it writes H.264, not frames.
"""

import os
import shutil
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.side_by_side import measure, on_one_core, side_by_side
from builder.build.build import BuildSettings, How, build
from builder.catalog import folder
from builder.catalog.source import Catalog
from builder.cores import usable_cores
from builder.decode.engine import engine_version
from builder.decode.ffmpeg import find_ffmpeg
from builder.decode.frames import FrameSettings

CORES = usable_cores()
SIDE = FrameSettings.short_side
SCALE = f"scale='if(gt(iw,ih),-2,{SIDE})':'if(gt(iw,ih),{SIDE},-2)'"


def ours(catalog: Catalog, out: Path, engine: str, workers: int = CORES) -> int:
    shutil.rmtree(out, ignore_errors=True)
    settings = BuildSettings(FrameSettings(engine=engine))
    build(catalog, out, settings, How(workers=workers))
    return len(catalog.videos)


def each(catalog: Catalog, command: list[str], workers: int = CORES) -> int:
    """Run an ffmpeg command with every video ("VIDEO") as input."""

    def run(path: Path) -> None:
        words = [str(path) if word == "VIDEO" else word for word in command]
        subprocess.run(words, check=False, capture_output=True, stdin=subprocess.DEVNULL)

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(run, [video.path for video in catalog.videos]))
    return len(catalog.videos)


def decode_only(catalog: Catalog) -> int:
    command = [find_ffmpeg(), "-v", "error", "-threads", "1", "-i", "VIDEO", "-map", "0:V:0"]
    return each(catalog, [*command, "-fps_mode", "passthrough", "-f", "null", "-"])


def encode_to_nothing(catalog: Catalog, workers: int = CORES) -> int:
    command = [find_ffmpeg(), "-v", "error", "-threads", "1", "-i", "VIDEO", "-map", "0:V:0"]
    command += ["-vf", SCALE, "-fps_mode", "passthrough", "-c:v", "mjpeg", "-q:v", "3"]
    return each(
        catalog, [*command, "-pix_fmt", "yuvj420p", "-threads", "1", "-f", "null", "-"], workers
    )


def frame_files(catalog: Catalog, out: Path, ffmpeg: str) -> int:
    """The common way: write every video's frames as frame%06d.jpg, then pack them with tar."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()

    def write_frames(i: int) -> None:
        command = [ffmpeg, "-v", "error", "-i", str(catalog.videos[i].path), "-vf", SCALE]
        command += ["-q:v", "3", str(out / f"{i:09d}.frame%06d.jpg")]
        subprocess.run(command, check=False, capture_output=True, stdin=subprocess.DEVNULL)

    with ThreadPoolExecutor(CORES) as pool:
        list(pool.map(write_frames, range(len(catalog.videos))))
    packed = out.with_suffix(".tar")
    subprocess.run(["tar", "--sort=name", "-cf", str(packed), "-C", str(out), "."], check=True)
    return len(catalog.videos)


def video2dataset(catalog: Catalog, out: Path, python: str) -> int:
    shutil.rmtree(out, ignore_errors=True)
    table = out.with_suffix(".csv")
    table.write_text("path\n" + "".join(f"{video.path}\n" for video in catalog.videos))
    script = Path(__file__).with_name("run_video2dataset.py")
    command = [python, str(script), str(table), str(out), str(SIDE), str(CORES)]
    subprocess.run(command, check=True, capture_output=True)
    return len(catalog.videos)


def bench_building(videos: Path, work: Path, rounds: int) -> None:
    catalog = folder.read(videos.resolve())
    print(f"{len(catalog.videos)} videos of {videos}, {CORES} cores, {engine_version('ffmpeg')}")
    system = shutil.which("ffmpeg")
    python = os.environ.get("VIDEO2DATASET")
    ways = {
        "ours, --engine pyav": lambda: ours(catalog, work / "pyav", "pyav"),
        "ours": lambda: ours(catalog, work / "ours", "ffmpeg"),
        "ffmpeg alone: decode, to nothing": lambda: decode_only(catalog),
        "ffmpeg alone: decode, scale, encode, to nothing": lambda: encode_to_nothing(catalog),
        "frames as files then tar, our ffmpeg": lambda: frame_files(
            catalog, work / "files", find_ffmpeg()
        ),
    }
    if system:
        ways["frames as files then tar, the system's ffmpeg"] = lambda: frame_files(
            catalog, work / "system", system
        )
    side_by_side("Building", "videos/s", ways, rounds)
    if python:
        once = measure(lambda: video2dataset(catalog, work / "v2d", python))
        again = measure(lambda: ours(catalog, work / "ours", "ffmpeg"))
        print(
            f"  video2dataset, its start included, one run: {once.count / once.seconds:.1f} "
            f"videos/s, {once.cpu_seconds:.0f} CPU s; ours right after it is "
            f"x {once.seconds / again.seconds:.1f}"
        )
    scaling = {
        "ours, --engine pyav": lambda workers: ours(catalog, work / "n", "pyav", workers),
        "ours": lambda workers: ours(catalog, work / "n", "ffmpeg", workers),
        "ffmpeg alone: decode, scale, encode, to nothing": lambda w: encode_to_nothing(catalog, w),
    }
    print(f"{CORES} cores against one")
    for name, way in scaling.items():
        ratios = []
        for _ in range(rounds):
            one = measure(lambda way=way: on_one_core(lambda: way(1)))
            ratios.append(one.seconds / measure(lambda way=way: way(CORES)).seconds)
        low, high = min(ratios), max(ratios)
        print(f"  {name:<58} x {statistics.median(ratios):.2f} ({low:.2f} .. {high:.2f})")


if __name__ == "__main__":
    bench_building(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
