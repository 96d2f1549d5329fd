import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from builder.build.build import BuildSettings, How, build
from builder.catalog import folder
from builder.decode.frames import FrameSettings
from builder.errors import BuilderError
from builder.shards.dataset import ShardDataset

SETTINGS = BuildSettings(FrameSettings(short_side=32), videos_per_shard=4)


def content(path: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in path.rglob("*") if p.is_file()}


def test_an_error_in_the_middle_then_the_same_bytes(dataset, video_folder, tmp_path):
    class StopError(Exception):
        pass

    def stop_at_ten(done: int, total: int, text: str) -> None:
        if done == 10:
            raise StopError

    catalog = folder.read(video_folder)
    out = tmp_path / "out"
    with pytest.raises(StopError):
        build(catalog, out, SETTINGS, How(workers=2), stop_at_ten)
    assert list(out.glob("*.tar"))
    assert not list(out.glob("*.partial"))
    with pytest.raises(BuilderError, match="No shards in"):
        ShardDataset(out)
    assert build(catalog, out, SETTINGS, How(workers=2)).done_now < 16
    assert content(out) == content(dataset.folder)


def test_killed_then_the_same_bytes(dataset, video_folder, tmp_path):
    out = tmp_path / "out"
    program = (
        "import sys, time\nfrom pathlib import Path\nfrom builder.build.build import *\n"
        "from builder.catalog import folder\nfrom builder.decode.frames import FrameSettings\n"
        "settings = BuildSettings(FrameSettings(short_side=32), videos_per_shard=4)\n"
        "slow = lambda done, total, text: time.sleep(0.05)\n"
        "build(folder.read(Path(sys.argv[1])), Path(sys.argv[2]), settings, How(workers=1), slow)\n"
    )
    command = [sys.executable, "-c", program, str(video_folder), str(out)]
    for _ in range(3):
        process = subprocess.Popen(command)
        before = len(list((out / ".build").glob("0*.json")))
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and process.poll() is None:
            if len(list((out / ".build").glob("0*.json"))) > before:
                break
            time.sleep(0.01)
        time.sleep(0.08)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    build(folder.read(video_folder), out, SETTINGS, How(workers=2))
    assert content(out) == content(dataset.folder)


def test_a_video_that_vanishes_stops_the_build(video_folder, dataset, tmp_path):
    root = tmp_path / "videos"
    shutil.copytree(video_folder, root)
    catalog = folder.read(root)

    def remove(done: int, total: int, text: str) -> None:
        shutil.rmtree(root, ignore_errors=True)

    with pytest.raises(BuilderError, match="is gone now"):
        build(catalog, tmp_path / "out", SETTINGS, How(workers=1), remove)
    shutil.copytree(video_folder, root)
    build(catalog, tmp_path / "out", SETTINGS, How(workers=2))
    assert content(tmp_path / "out") == content(dataset.folder)


def test_a_stopped_build_leaves_no_process_and_no_file(video_folder, make_video, tmp_path):
    root = tmp_path / "videos"
    make_video(root / "a" / "long.avi", frames=4000, size="320x240")
    command = [sys.executable, "-m", "ascnet", "build", "folder", "--source", str(root)]
    command += ["--out", str(tmp_path / "out")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    begun = tmp_path / "out" / "folder" / ".build" / "identity.json"
    while not (begun.is_file() and (decoders := _children(process.pid))):
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 143
    assert "Stopped. Finished work is kept" in said
    assert "Traceback" not in said
    assert not any(Path(f"/proc/{pid}").exists() for pid in decoders)
    left = {p.name for p in (tmp_path / "out" / "folder").rglob("*")}
    assert left == {".build", ".lock", "identity.json"}


def _children(pid: int) -> list[int]:
    path = Path(f"/proc/{pid}/task")
    return [
        int(child) for task in path.iterdir() for child in (task / "children").read_text().split()
    ]


def test_records_of_an_unknown_build_are_no_use(video_folder, tmp_path):
    """As when an --overwrite is killed after it has removed what the records belong to."""
    catalog, out = folder.read(video_folder), tmp_path / "out"
    build(catalog, out, SETTINGS, How(shards=slice(0, 2)))
    (out / ".build" / "identity.json").unlink()
    other = BuildSettings(FrameSettings(short_side=48), videos_per_shard=4)
    assert build(catalog, out, other, How(workers=2)).done_now == 16
    assert {video.height for video in ShardDataset(out).videos} == {48}


def test_when_it_gives_up_all_work_has_stopped(tmp_path, make_video):
    for i in range(12):
        make_video(tmp_path / "in" / f"{i}.avi", frames=3)
    (tmp_path / "in" / "bad.avi").write_bytes(b"")
    settings = BuildSettings(FrameSettings(short_side=32), videos_per_shard=1)
    out = tmp_path / "out"
    with pytest.raises(BuilderError, match="--max-failures 0") as kept:
        build(folder.read(tmp_path / "in"), out, settings, How(workers=2, max_failures=0))
    before = content(out)
    time.sleep(0.3)
    assert content(out) == before
    with pytest.raises(BuilderError, match="--max-failures 0"):
        build(folder.read(tmp_path / "in"), out, settings, How(workers=2, max_failures=0))
    assert kept


def test_a_decoder_that_is_told_to_stop_says_nothing_of_the_video(make_video, tmp_path):
    make_video(tmp_path / "in" / "long.avi", frames=4000, size="320x240")
    catalog, stopped = folder.read(tmp_path / "in"), []

    def stop_decoders() -> None:
        while not stopped:
            for pid in _children(os.getpid()):
                if b"long.avi" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    time.sleep(0.2)
                    os.kill(pid, signal.SIGTERM)
                    stopped.append(pid)

    thread = threading.Thread(target=stop_decoders)
    thread.start()
    with pytest.raises(BuilderError, match="was stopped"):
        build(catalog, tmp_path / "out", BuildSettings(), How())
    thread.join()


def test_a_hanging_decoder_ends_with_a_killed_builder(make_video, tmp_path):
    make_video(tmp_path / "in" / "a.avi")
    hanging = tmp_path / "ffmpeg"
    hanging.write_text(
        "#!/bin/sh\n[ $1 = -version ] && echo ffmpeg version 9.0 && exit\nexec sleep 60\n"
    )
    hanging.chmod(0o755)
    command = [sys.executable, "-m", "ascnet", "build", "folder", "--source"]
    command += [str(tmp_path / "in"), "--out", str(tmp_path / "out")]
    process = subprocess.Popen(command, env=os.environ | {"ASCNET_FFMPEG": str(hanging)})
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and not _named(process.pid, b"sleep"):
        time.sleep(0.02)
    (decoder,) = _named(process.pid, b"sleep")
    process.kill()
    process.wait()
    while time.monotonic() < deadline and Path(f"/proc/{decoder}").exists():
        time.sleep(0.02)
    assert not Path(f"/proc/{decoder}").exists()


def _named(pid: int, word: bytes) -> list[int]:
    return [c for c in _children(pid) if word in Path(f"/proc/{c}/cmdline").read_bytes()]
