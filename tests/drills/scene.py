"""The data of the drills: tiny videos, their shards, a trained run."""

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess

from tests.conftest import TINY, write_video
from tests.drills.outcome import last_line
from tests.processes import Running, begin_in_session, start

SETTINGS = [word for change in (*TINY, "optim.steps=40") for word in ("--set", change)]
_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "no_proxy": "*"}
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
    """Start a command in a session of its own."""
    arguments = [str(word) for word in words]
    return start(begin_in_session, arguments, cwd=cwd, **_ENVIRONMENT)


def begin_alone(
    *words: object, cwd: Path, before: Sequence[object] = (), **environment: str
) -> subprocess.Popen[str]:
    """Start a command in a new process and session, imports included. `before`: a program that
    starts it, with its arguments."""
    return subprocess.Popen(
        [*map(str, before), sys.executable, "-m", "ascnet", *map(str, words)],
        cwd=cwd,
        env=os.environ | _ENVIRONMENT | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def end_of(process: subprocess.Popen[str], timeout: float = 600) -> CompletedProcess[str]:
    """Wait for the end of a process. Raises AssertionError after `timeout` seconds."""
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired as error:
        process.kill()
        raise AssertionError(f"It still ran after {timeout} s.") from error
    return CompletedProcess([], process.returncode, out, err)


def succeeded(done: CompletedProcess[str]) -> CompletedProcess[str]:
    """Assert that a command succeeded; return it."""
    assert done.returncode == 0, done.stderr + done.stdout
    return done


def is_a_sentence(done: CompletedProcess[str]) -> bool:
    """Whether a command failed with an error message and without a traceback."""
    said = done.stderr.strip()
    return done.returncode in (1, 2) and bool(said) and "Traceback" not in said


def silent_failure(done: CompletedProcess[str]) -> str:
    """What a command said that failed without a sentence; "": there is nothing wrong."""
    return "" if not done.returncode or is_a_sentence(done) else f"no sentence: {said_by(done)}"


def said_by(done: CompletedProcess[str]) -> str:
    """The last line of what a failed command said, or its exit status."""
    return last_line(done.stderr) or f"nothing, with exit status {done.returncode}"
