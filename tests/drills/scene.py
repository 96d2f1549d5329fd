"""The data of the drills: tiny videos, their shards, a trained run."""

from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess

from tests.conftest import TINY, write_video
from tests.processes import Running, start_ascnet

SETTINGS = [word for change in (*TINY, "optim.steps=40") for word in ("--set", change)]
BUILD = ("--name", "drill", "--short-side", 32, "--videos-per-shard", 3, "--workers", 2)


@dataclass(frozen=True)
class Scene:
    """Paths of the data; `more` holds further videos."""

    videos: Path
    more: Path
    shards: Path
    run: Path


def set_up(root: Path) -> Scene:
    """Make sixteen videos of two classes in eight groups, three more, shards, and a run."""
    scene = Scene(root / "videos", root / "more", root / "shards" / "drill", root / "run")
    for name, pattern in {"bars": "smptebars", "test": "testsrc"}.items():
        for group in range(1, 5):
            for clip in (1, 2):
                path = scene.videos / name / f"v_{name}_g{group:02}_c{clip:02}.avi"
                write_video(path, frames=30 + group, pattern=pattern)
    for number, pattern in enumerate(("rgbtestsrc", "yuvtestsrc", "testsrc2")):
        write_video(scene.more / f"{pattern}.avi", frames=40 + number, pattern=pattern)
    build = ("build", "folder", "--source", scene.videos, *BUILD, "--out", root / "shards")
    succeeded(ascnet(*build, cwd=root))
    succeeded(ascnet("train", scene.shards, *SETTINGS, "--run", scene.run, cwd=root))
    return scene


def ascnet(*words: object, cwd: Path) -> CompletedProcess[str]:
    """Run a command in a process of its own until it ends."""
    return begin(*words, cwd=cwd).end(timeout=600)


def begin(*words: object, cwd: Path) -> Running:
    return start_ascnet(*words, cwd=cwd, OMP_NUM_THREADS="1", no_proxy="*")


def succeeded(done: CompletedProcess[str]) -> CompletedProcess[str]:
    """Assert that a command succeeded; return it."""
    assert done.returncode == 0, done.stderr + done.stdout
    return done


def is_a_sentence(done: CompletedProcess[str]) -> bool:
    """Whether a command failed with an error message and without a traceback."""
    said = done.stderr.strip()
    return done.returncode in (1, 2) and bool(said) and "Traceback" not in said
