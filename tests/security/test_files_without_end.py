"""Files of which there is more than anybody can read: of holes, or made up as they are read."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from builder.catalog import files, hmdb51
from builder.decode.engine import transcode
from builder.decode.frames import Failure
from builder.decode.processes import Children
from builder.errors import BuilderError
from builder.video_limits import Limits
from tests.commands import refused, run_ascnet

HOLE = 1 << 42  # bytes, none of them on the disk
ENDLESS = Path("/proc/kmsg")  # a regular file of 0 bytes; who reads it waits for more
LISTS = {
    "csv": "list.csv",
    "folder": "splits.csv",
    "kinetics400": "train.csv",
    "hmdb51": "testTrainMulti_7030_splits/wave_test_split1.txt",
}


def link_to_endless(path: Path) -> None:
    if not ENDLESS.is_file():
        pytest.skip(f"only Linux makes up {ENDLESS}, which is waited for for ever")
    path.symlink_to(ENDLESS)


def of_holes(path: Path, size: int = HOLE) -> Path:
    path.touch()
    try:
        os.truncate(path, size)
    except OSError:
        pytest.skip(f"the file system of {path.parent} makes no file of {size} bytes of holes")
    return path


def test_a_video_of_holes_takes_no_longer_than_a_video_may(settings, tmp_path):
    began = time.monotonic()
    result = transcode(of_holes(tmp_path / "a.mp4"), settings, Limits(seconds=0.3))
    assert time.monotonic() - began < 5
    assert isinstance(result, Failure)
    assert (result.reason, result.facts.source_bytes) == ("timeout", HOLE)
    assert result.detail == f"reading its {HOLE} bytes was stopped after 0.3 s"


def test_a_video_that_the_system_makes_up_is_not_waited_for(settings, tmp_path):
    link_to_endless(tmp_path / "a.mp4")
    result = transcode(tmp_path / "a.mp4", settings, Limits(seconds=1))
    assert isinstance(result, Failure)
    assert result.reason == "empty file"


def test_no_video_is_read_after_the_build_was_stopped(settings, tmp_path):
    with Children() as children:
        children.stop()
        with pytest.raises(BuilderError, match="The build was stopped"):
            transcode(of_holes(tmp_path / "a.mp4"), settings, Limits(), children)


def test_a_build_that_reads_a_large_file_stops_when_told(tmp_path):
    (tmp_path / "videos").mkdir()
    video = of_holes(tmp_path / "videos" / "a.mp4")
    ascnet = Path(sys.executable).with_name("ascnet")
    command = [ascnet, "build", "folder", "--source", "videos"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE) as build:
        deadline = time.monotonic() + 60
        while str(video) not in opened_by(build) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert build.poll() is None  # it reads
        build.send_signal(signal.SIGTERM)
        try:
            build.wait(10)
        finally:
            build.kill()


def opened_by(process: subprocess.Popen[bytes]) -> list[str]:
    found = []
    for link in Path(f"/proc/{process.pid}/fd").glob("*"):
        with suppress(OSError):
            found.append(str(link.readlink()))
    return found


def laid(dataset: str, tmp_path: Path, make_video) -> Path:
    """A folder with one video; the list itself is not there yet. The list's place."""
    for name in ("train/abcdefghijk_000000_000010.mp4", "hmdb51_org/wave/a.avi"):
        (tmp_path / name).parent.mkdir(parents=True)
        make_video(tmp_path / name, frames=2)
    path = tmp_path / LISTS[dataset]
    path.parent.mkdir(exist_ok=True)
    return path


@pytest.mark.parametrize("dataset", LISTS)
def test_no_list_is_read_without_end(dataset, tmp_path, make_video):
    source = of_holes(laid(dataset, tmp_path, make_video))
    said = refused(
        *("build", dataset, "--source", source if dataset == "csv" else tmp_path), cwd=tmp_path
    )
    assert f"{source.name} has more than 128 MiB" in said and "build its videos in parts" in said


@pytest.mark.parametrize("dataset", LISTS)
def test_no_list_is_waited_for(dataset, tmp_path, make_video):
    source = laid(dataset, tmp_path, make_video)
    link_to_endless(source)
    words = ("build", dataset, "--source", source if dataset == "csv" else tmp_path)
    run_ascnet(*words, cwd=tmp_path)  # it comes to an end


@pytest.mark.parametrize("kind", ["a FIFO", "/dev/zero"])
def test_a_list_is_a_file(kind, tmp_path, make_video):
    source = laid("hmdb51", tmp_path, make_video)
    os.mkfifo(source) if kind == "a FIFO" else source.symlink_to(kind)
    with pytest.raises(BuilderError, match=r"wave_test_split1\.txt: it is no regular file"):
        hmdb51.read(tmp_path)


@pytest.mark.parametrize("end", [b"\n", b"\r"])
def test_a_list_has_no_more_lines_than_any(end, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "MOST_LINES", 100)
    path = tmp_path / "list.csv"
    path.write_bytes(b"path" + 99 * (end + b"a.mp4") + end)
    assert len(files.read_csv(path, ("path",), ())[1]) == 99
    path.write_bytes(b"path" + 100 * (end + b"a.mp4") + end)
    with pytest.raises(BuilderError, match="has more than 100 lines"):
        files.read_csv(path, ("path",), ())
