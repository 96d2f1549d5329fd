import errno
from pathlib import Path
from subprocess import CompletedProcess
from typing import BinaryIO

import pytest

from builder.shards import verify as verifying
from tests.commands import run_ascnet


def build(source: Path, *options: str | Path, cwd: Path) -> CompletedProcess[str]:
    return run_ascnet("build", "folder", "--source", source, "--short-side", 32, *options, cwd=cwd)


def test_strict(make_video, tmp_path):
    make_video(tmp_path / "in" / "good.avi", frames=3)
    (tmp_path / "in" / "bad.avi").write_bytes(b"")
    assert build(tmp_path / "in", cwd=tmp_path).returncode == 0
    strict = build(tmp_path / "in", "--strict", cwd=tmp_path)
    assert strict.returncode == 1
    assert "2 expected, 1 built, 1 failed: empty file 1" in strict.stdout
    assert "empty file: the file is empty" in strict.stdout


def test_a_build_without_a_single_video_has_failed(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "bad.avi").write_bytes(b"")
    done = build(tmp_path / "in", cwd=tmp_path)
    assert done.returncode == 1 and "No video could be built" in done.stderr
    assert "empty file: the file is empty" in done.stdout


def test_the_last_line_says_how_much_and_how_fast(make_video, tmp_path):
    make_video(tmp_path / "in" / "good.avi", frames=30)
    last = build(tmp_path / "in", cwd=tmp_path).stdout.splitlines()[-1]
    assert last.startswith("shards/folder: 30 frames, 0.")
    assert " MB, " in last
    assert " videos per second; a row for every video in shards/folder/videos.jsonl" in last
    again = build(tmp_path / "in", cwd=tmp_path).stdout
    assert "shards/folder is up to date" in again
    assert "videos per second" not in again


def test_ranges(video_folder, tmp_path):
    small = ("--videos-per-shard", 4)
    first = build(video_folder, *small, "--shards-range", "0:2", cwd=tmp_path)
    assert "2 of 4 shards are built" in first.stdout
    beyond = build(video_folder, *small, "--shards-range", "4:6", cwd=tmp_path)
    assert "This range holds no shard; there are 4, numbered from 0." in beyond.stdout
    early = build(video_folder, *small, "--finish", cwd=tmp_path)
    assert early.returncode == 1
    assert "2 of 4 shards are not built, the first is number 2" in early.stderr
    build(video_folder, *small, "--shards-range", "2:", cwd=tmp_path)
    done = build(video_folder, *small, "--finish", cwd=tmp_path)
    assert "16 expected, 16 built, 0 failed" in done.stdout
    assert run_ascnet("verify", "shards", "--deep", cwd=tmp_path).returncode == 0


def test_verify_names_what_has_changed(video_folder, tmp_path):
    build(video_folder, cwd=tmp_path)
    whole = run_ascnet("verify", cwd=tmp_path)
    assert "all as built" in whole.stdout
    shard = tmp_path / "shards" / "folder" / "folder-000000.tar"
    content = bytearray(shard.read_bytes())
    content[5000] ^= 1
    shard.write_bytes(content)
    broken = run_ascnet("verify", cwd=tmp_path)
    assert broken.returncode == 1
    assert "folder-000000.tar: checksum mismatch" in broken.stdout
    assert "_g0" in broken.stdout  # the name of the sample


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--shards-range", "5"], "--shards-range is '5'; it must be A:B"),
        (["--shards-range", "3:3"], "it must be A:B"),
        (["--shards-range", "0:1", "--overwrite"], "--shards-range and --overwrite cannot"),
        (["--shards-range", "0:1", "--finish"], "--shards-range and --finish cannot"),
        (["--finish", "--overwrite"], "--finish keeps what is built"),
        (["--engine", "pyav", "--fps", "10"], "--fps 10 needs ffmpeg"),
        (["--jpeg-quality", "31"], "31 is not in the range 2<=x<=10"),
        (["--fps", "nan"], "nan is not a number; it takes 0<x<=1000"),
        (["--shards-range", "0:1", "--strict"], "--shards-range and --strict cannot"),
        (["--name", "a/b"], "--name is 'a/b'"),
        (["--name", ".."], "--name is '..'"),
    ],
)
def test_options_that_do_not_fit(video_folder, tmp_path, options, words):
    done = build(video_folder, *options, cwd=tmp_path)
    assert done.returncode != 0
    assert words in done.stderr


def test_groups_labels_and_folders_left_alone_are_said(make_video, tmp_path):
    for name in ("9/a.avi", "10/b.avi", "lost+found/c.avi"):
        make_video(tmp_path / "in" / name, frames=3)
    (tmp_path / "in" / "9" / "more").symlink_to("../10")
    done = build(tmp_path / "in", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    first, second, *others = done.stdout.splitlines()
    assert first.startswith("2 groups of 1 video: 2 of 2 files have no _gNN_ in their names")
    assert second.endswith("label 0 for class 9, 1 for class 10.")
    assert "9/more/ left alone: the same folder as 10/, which is read" in others
    assert any(line.startswith("lost+found/ left alone: a folder of the file") for line in others)


def test_verify_says_what_to_do_about_what_it_could_not_read(video_folder, tmp_path, monkeypatch):
    build(video_folder, "--videos-per-shard", 4, cwd=tmp_path)
    shards = sorted((tmp_path / "shards" / "folder").glob("*.tar"))
    really = verifying.open_regular

    def refused(path: Path) -> BinaryIO:
        if path.name == shards[0].name:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return really(path)

    monkeypatch.setattr(verifying, "open_regular", refused)
    one = run_ascnet("verify", cwd=tmp_path)
    assert one.returncode == 1 and "1 problem. Check the disk and the permissions" in one.stdout
    assert "Copy the shards again" not in one.stdout
    shards[1].unlink()
    both = run_ascnet("verify", cwd=tmp_path).stdout
    assert "2 problems. Check the disk" in both and "Copy the shards again" in both
