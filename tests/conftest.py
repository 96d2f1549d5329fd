"""Fixtures: tiny videos, data sets and training runs."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from builder.build.build import BuildSettings, How, build
from builder.catalog import folder
from builder.decode.ffmpeg import find_ffmpeg
from builder.decode.frames import FrameSettings
from builder.shards.dataset import ShardDataset
from tests.drawn_motion import build_drawn, even_times, uneven_times
from trainer import calibration
from trainer.config.recipe_file import load_recipe, override
from trainer.config.settings import Config
from trainer.data.training_set import TrainingSet, gather
from trainer.pretrain import train
from trainer.run.run_directory import start_run

# Tests compute little: two threads would wait for each other longer than they work, and many times
# as long on a busy machine.
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"  # for processes that tests start

# A shell ignores Ctrl-C in what it starts in the background, and processes inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

MakeVideo = Callable[..., Path]


def write_video(
    path: Path, *, frames: int = 20, size: str = "64x48", pattern: str = "testsrc", args: str = ""
) -> Path:
    """Write a video file of ffmpeg's test pattern, in MPEG-4 unless `args` says otherwise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    command = [find_ffmpeg(), "-v", "error", "-y", "-f", "lavfi"]
    command += ["-i", f"{pattern}=size={size}:rate=25", "-frames:v", str(frames)]
    command += ["-c:v", "mpeg4", "-q:v", "5", *args.split(), f"file:{path}"]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return path


@pytest.fixture(scope="session")
def make_video() -> MakeVideo:
    return write_video


@pytest.fixture(scope="session")
def video_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two classes, with four groups of two clips each; one video is shorter than a
    clip."""
    root = tmp_path_factory.mktemp("videos")
    patterns = {"bars": "smptebars", "test": "testsrc"}
    for name, pattern in patterns.items():
        for group in range(1, 5):
            for clip in (1, 2):
                length = 5 if (name, group, clip) == ("bars", 1, 1) else 16 + group
                path = root / name / f"v_{name}_g{group:02d}_c{clip:02d}.avi"
                write_video(path, frames=length, pattern=pattern)
    return root


@pytest.fixture(scope="session")
def shards(video_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Several shards, built from `video_folder`."""
    out = tmp_path_factory.mktemp("shards") / "folder"
    settings = BuildSettings(FrameSettings(short_side=32), videos_per_shard=4)
    build(folder.read(video_folder), out, settings, How(workers=2))
    return out


@pytest.fixture(scope="session")
def dataset(shards: Path) -> ShardDataset:
    return ShardDataset(shards)


@pytest.fixture(scope="session")
def motion(tmp_path_factory: pytest.TempPathFactory) -> ShardDataset:
    """Videos of known motion: `uneven/<kind>.avi` with unevenly spaced frames, and two with evenly
    spaced ones."""
    root = tmp_path_factory.mktemp("motion")
    videos = {f"uneven/{name}.avi": (times, False) for name, times in uneven_times().items()}
    videos |= {"even/25.avi": (even_times(), True), "even/15.avi": (even_times(15.0, 60), True)}
    return build_drawn(root / "motion", root / "source", videos)


@pytest.fixture(autouse=True, scope="session")
def few_batches_of_a_calibrated_network() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calibration, "BATCHES", 2)
        yield


@pytest.fixture(autouse=True)
def no_leaking_randomness() -> None:
    torch.default_generator.manual_seed(0)  # torch.manual_seed would seed GPUs, too: 1 ms


TINY = (
    "data.frames=4",
    "data.strides=[1,2]",
    "data.size=16",
    "data.short_side=0",
    "data.workers=1",
    "model.hidden=16",
    "model.dim=8",
    "objective.neighbours=1",
    "objective.bank=32",
    "objective.speed_target=neighbour",
    "objective.momentum=0.9",
    "objective.appearance_contrast=0",
    "objective.decorrelation=0",
    "optim.batch=4",
    "optim.steps=8",
    "log_every=2",
    "checkpoint_every=3",
    "evaluate.clips=5",
    "objective.speed_weight=1.0",
    "objective.speed_warmup=0.0",
)


@pytest.fixture(scope="session")
def tiny() -> Config:
    return override(load_recipe("demo"), TINY)


@pytest.fixture(scope="session")
def training_set(shards: Path, tiny: Config) -> TrainingSet:
    return gather({shards: str(shards)}, tiny.data)


@pytest.fixture(scope="session")
def finished_run(tiny, training_set, tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "run"
    start_run(run, tiny, training_set)
    train(run, tiny, training_set, torch.device("cpu"))
    return run
