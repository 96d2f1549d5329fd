"""Nothing that lies in the working directory is run: videos are often built where they lie."""

import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import pytest

from builder.catalog import shapes
from builder.decode import ffmpeg as ffmpeg_engine
from builder.decode import pyav as pyav_engine
from builder.decode.engine import transcode
from builder.decode.frames import Frames, FrameSettings
from builder.decode.processes import Children, ending_with_parent
from builder.download.rar_program import rar_program
from builder.errors import BuilderError
from tests.commands import run_ascnet

ROOT = Path(pyav_engine.__file__).resolve().parents[2]
MODULES = (
    "av",
    "builder",
    "builder.decode.pyav_worker",
    "ctypes",
    "importlib",
    "json",
    "numpy",
    "runpy",
    "simplejpeg",
    "sitecustomize",
)
PROGRAMS = ("ffmpeg", "setpriv", "prlimit", "git", "curl", "unrar", "unar", "bsdtar", "7z", "7zz")


@pytest.fixture
def trap(tmp_path: Path, make_video) -> Path:
    """A folder with a video, and with modules and programs that leave a file when they are run."""
    folder = tmp_path / "trap"
    make_video(folder / "videos" / "a.avi", frames=3)
    for name in MODULES:
        path = folder / f"{name.replace('.', '/')}.py"
        if name == "builder":
            path = folder / "builder" / "__init__.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"open({str(folder / 'tripped')!r}, 'a').write({name!r})\n")
    for name in PROGRAMS:
        path = folder / name
        path.write_text(f"#!/bin/sh\necho {name} >> '{folder}/tripped'\n")
        path.chmod(0o755)
    return folder


def tripped(folder: Path) -> str:
    mark = folder / "tripped"
    return mark.read_text() if mark.exists() else ""


@pytest.mark.parametrize("engine", ["ffmpeg", "pyav"])
def test_a_build_runs_no_module_and_no_program_of_the_working_directory(trap, engine):
    words = ("build", "folder", "--source", "videos", "--engine", engine, "--short-side", "16")
    result = run_ascnet(*words, cwd=trap)
    assert "1 expected, 1 built, 0 failed" in result.stdout, result.stderr
    assert tripped(trap) == ""


def test_a_worker_finds_a_video_by_its_name_below_the_working_directory(trap, monkeypatch):
    monkeypatch.chdir(trap)
    result = transcode(Path("videos/a.avi"), FrameSettings(short_side=16, engine="pyav"))
    assert isinstance(result, Frames), result
    assert tripped(trap) == ""


def start_worker(cwd: Path, *, environment: dict[str, str], switches: tuple[str, ...] = ()) -> str:
    """Which `builder` and which path a worker has."""
    say = "import sys; print(builder.__file__, sys.path, sep='\\n')"
    program = pyav_engine._START.partition("from builder.decode.pyav_worker")[0] + say
    command = [sys.executable, *switches, "-P", "-c", program, str(ROOT), str(os.getpid())]
    done = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout


def test_a_worker_takes_the_package_that_runs_here_and_the_users_own_path(trap, tmp_path):
    # Not installed anywhere (-S), and other modules where the user says that there are some.
    said = start_worker(trap, environment={"PYTHONPATH": str(tmp_path / "mine")}, switches=("-S",))
    package, path = said.splitlines()
    assert Path(package) == ROOT / "builder" / "__init__.py"
    places = eval(path)
    assert places[0] == str(tmp_path / "mine")
    assert places[-1] == str(ROOT)
    assert str(trap) not in places and "" not in places
    assert tripped(trap) == ""


def test_programs_are_looked_for_where_path_says_and_nowhere_else(trap, monkeypatch):
    monkeypatch.chdir(trap)
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("ASCNET_FFMPEG", "ffmpeg")
    for found in (ffmpeg_engine.find_ffmpeg, ffmpeg_engine.ffmpeg_version, ending_with_parent):
        found.cache_clear()
    try:
        with pytest.raises(BuilderError, match="is no program"):
            ffmpeg_engine.find_ffmpeg()
        assert ending_with_parent() == []
        assert rar_program() is None
        with Children() as children, pytest.raises(FileNotFoundError):
            children._new(["unrar"])
    finally:
        for found in (ffmpeg_engine.find_ffmpeg, ffmpeg_engine.ffmpeg_version, ending_with_parent):
            found.cache_clear()
    assert tripped(trap) == ""


def test_the_processes_that_draw_are_forked_whatever_the_default_is():
    # Another way to start them is a new Python, which looks into the working directory first.
    before = multiprocessing.get_start_method()
    multiprocessing.set_start_method("spawn", force=True)
    try:
        with shapes._pool(1) as pool:
            assert pool._mp_context.get_start_method() == "fork"
    finally:
        multiprocessing.set_start_method(before, force=True)


def test_a_ray_worker_has_no_working_directory_on_its_path(trap, monkeypatch):
    pytest.importorskip("ray")
    from builder.build.ray import _job_config  # noqa: PLC0415  (slow to import)

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.chdir(trap)
    config = _job_config()
    config._py_driver_sys_path.extend([str(trap)])  # as Ray does of every driver
    assert list(config._get_proto_job_config().py_driver_sys_path) == [str(ROOT)]
    monkeypatch.setenv("RAY_ADDRESS", "ray://head:10001")
    assert _job_config() is None
