"""File systems without locks, hard links or a way to flush a folder."""

import errno
import fcntl
import json
import os
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from builder import atomic
from builder.atomic import only_writer, write_atomically
from builder.build import records
from builder.build.build import BuildSettings, How, build
from builder.catalog import folder
from builder.decode.frames import FrameSettings
from builder.errors import BuilderError

NOT_HERE = ["EPERM", "EOPNOTSUPP", "ENOLCK", "ENOSYS", "EINVAL"]
SETTINGS = BuildSettings(FrameSettings(short_side=32), videos_per_shard=4)


def refusing(name: str):
    """A system call that fails as it does where it is not there."""
    number = getattr(errno, name)

    def call(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return call


def is_folder(descriptor: int) -> bool:
    return stat.S_ISDIR(os.fstat(descriptor).st_mode)


def content(path: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in path.iterdir() if p.name != ".lock"}


@pytest.mark.parametrize("name", NOT_HERE)
def test_without_locks_it_goes_on_and_says_what_is_lost(name, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(fcntl, "flock", refusing(name))
    with only_writer(tmp_path):
        write_atomically(tmp_path / "a", "text")
    assert (tmp_path / "a").read_text() == "text"
    said = capsys.readouterr().err
    assert f"{tmp_path} has no locks ({os.strerror(getattr(errno, name))})" in said
    assert "nothing keeps two processes from writing there at once" in said


def test_with_locks_the_second_writer_is_refused(tmp_path, capsys):
    second = only_writer(tmp_path)
    with only_writer(tmp_path), pytest.raises(BuilderError, match="Another process is writing"):
        second.__enter__()
    assert capsys.readouterr().err == ""


def test_a_lock_that_fails_otherwise_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", refusing("EIO"))
    with pytest.raises(OSError, match="Input/output error"), only_writer(tmp_path):
        raise AssertionError("it holds nothing")


@pytest.mark.parametrize("name", ["EINVAL", "EOPNOTSUPP", "ENOSYS"])
def test_a_folder_that_cannot_be_flushed(name, tmp_path, monkeypatch):
    monkeypatch.setattr(atomic.os, "fsync", refusing(name))
    write_atomically(tmp_path / "a", "text")
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {"a": "text"}
    monkeypatch.setattr(atomic.os, "fsync", refusing("EIO"))
    with pytest.raises(OSError, match="Input/output error"):
        write_atomically(tmp_path / "b", "text")
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("name", ["EPERM", "EOPNOTSUPP", "ENOSYS"])
def test_without_any_of_them_a_build_has_the_same_bytes(
    name, video_folder, dataset, tmp_path, monkeypatch
):
    monkeypatch.setattr(fcntl, "flock", refusing(name))
    monkeypatch.setattr(os, "link", refusing(name))
    fsync = os.fsync
    refuse = refusing(name)
    monkeypatch.setattr(os, "fsync", lambda fd: (refuse if is_folder(fd) else fsync)(fd))
    summary = build(folder.read(video_folder), tmp_path / "out", SETTINGS, How(workers=2))
    assert summary.counts is not None and summary.counts["built"] == 16
    assert content(tmp_path / "out") == content(dataset.folder)
    with pytest.raises(BuilderError, match="was built with short_side = 32"):
        other = BuildSettings(FrameSettings(short_side=64), videos_per_shard=4)
        build(folder.read(video_folder), tmp_path / "out", other, How())


@pytest.mark.parametrize("has_links", [True, False])
def test_of_many_that_begin_at_once_one_says_what_is_built(has_links, tmp_path, monkeypatch):
    if not has_links:
        monkeypatch.setattr(os, "link", refusing("EPERM"))
    together = threading.Barrier(8)

    def begin(number: int) -> bool:
        together.wait()
        try:
            records.begin(tmp_path, {"schema": 1, "short_side": number}, alone=False)
        except BuilderError as error:
            assert "was built with short_side" in str(error)
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(begin, range(8)))
    assert won.count(True) == 1
    identity = json.loads((tmp_path / records.NOTES / "identity.json").read_text())
    assert identity["short_side"] == won.index(True)
    assert [p.name for p in (tmp_path / records.NOTES).iterdir()] == ["identity.json"]


def test_an_identity_that_was_never_finished_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "link", refusing("EPERM"))
    monkeypatch.setattr(records, "_PATIENCE", 0.2)
    (tmp_path / records.NOTES).mkdir()
    (tmp_path / records.NOTES / "identity.json").touch()
    with pytest.raises(BuilderError, match=r"identity.json is not whole: .* Take .*/.build away"):
        records.begin(tmp_path, {"schema": 1}, alone=False)


@pytest.mark.parametrize(
    ("name", "mend"),
    [
        ("ENOSPC", "Free space, or name"),
        ("EDQUOT", "Free space, or name"),
        ("EROFS", "Name a path on another"),
    ],
)
def test_what_mends_a_folder_depends_on_what_is_wrong(
    name, mend, video_folder, tmp_path, monkeypatch
):
    monkeypatch.setattr(records, "write_partial", refusing(name))
    with pytest.raises(BuilderError, match=rf"Cannot write .*{mend}"):
        build(folder.read(video_folder), tmp_path / "out", SETTINGS, How())


def test_a_full_disk_is_named_with_the_file(tmp_path, monkeypatch):
    full = Path("/dev/full")
    monkeypatch.setattr(atomic, "open_new", lambda path: full.open("wb"))
    with pytest.raises(OSError, match="No space left on device") as caught:
        atomic.write_atomically(tmp_path / "page.html", "text")
    assert caught.value.filename == str(tmp_path / "page.html")
