"""A run or folder from somebody else, full of links to what its reader may write: none of it is
written, and folders that are links are followed."""

import io
import json
import os
import shutil
import stat

import numpy as np
import pytest
import torch

from builder.atomic import must_be_own, only_writer, open_new, open_own, write_atomically
from builder.download.fetch import FetchSettings, fetch
from builder.download.http import Download, _append
from builder.download.official import DATASETS
from builder.errors import BuilderError
from builder.progress import silent
from evaluate.features.store import Features, unfinished
from evaluate.finetune.checkpoint import Kept
from evaluate.results import write_json
from tests.commands import run_ascnet
from tests.evaluate.stores import store_of, video
from trainer.run import checkpoint
from trainer.run.log import TrainingLog

PRECIOUS = b"not to be lost\n"


@pytest.fixture
def precious(tmp_path):
    file = tmp_path / "home" / "precious"
    file.parent.mkdir()
    file.write_bytes(PRECIOUS)
    yield file
    assert file.read_bytes() == PRECIOUS
    assert [path.name for path in file.parent.iterdir()] == ["precious"]


def fill(path):
    return store_of(path, [video("a", 1), video("b", 1)], [np.ones((1, 4)), np.ones((1, 4))])


def test_a_lock_that_is_a_link(precious, tmp_path):
    for place in (precious, precious.with_name("new")):
        (tmp_path / ".lock").symlink_to(place)
        with pytest.raises(BuilderError, match=r"\.lock is a link, and .* into .*home") as caught:
            only_writer(tmp_path).__enter__()
        assert "Delete the link" in str(caught.value)
        (tmp_path / ".lock").unlink()


@pytest.mark.parametrize("kind", ["pipe", "folder", "device"])
def test_a_lock_that_is_no_file(kind, tmp_path):
    place = tmp_path / ".lock"
    if kind == "pipe":
        os.mkfifo(place)
    elif kind == "folder":
        place.mkdir()
    else:
        place.symlink_to("/dev/null")
    with pytest.raises((BuilderError, IsADirectoryError), match=r"\.lock"):
        only_writer(tmp_path).__enter__()


def test_a_lock_may_have_a_second_name_as_in_a_backup_by_links(tmp_path):
    (tmp_path / "backup").touch()
    (tmp_path / ".lock").hardlink_to(tmp_path / "backup")
    with only_writer(tmp_path):
        pass


@pytest.mark.parametrize("name", ["features", "elsewhere"])
def test_a_store_that_is_begun_is_a_link(name, precious, tmp_path):
    """Whatever it leads to, even to a store."""
    path = tmp_path / name / "x.h5"
    fill(path)
    other = tmp_path / "other.partial.h5"
    path.rename(other)
    before = other.read_bytes()
    for place in (precious, other):
        unfinished(path).symlink_to(place)
        with pytest.raises(BuilderError, match=r"x\.partial\.h5 is a link"):
            fill(path)
        unfinished(path).unlink()
    unfinished(path).hardlink_to(other)
    with pytest.raises(BuilderError, match=r"x\.partial\.h5 has a second name"):
        fill(path)
    assert other.read_bytes() == before


def test_names_that_a_store_had_on_its_way(precious, tmp_path):
    path = tmp_path / "x.h5"
    for old in (path.with_suffix(".partial.new"), path.with_suffix(".new"), path):
        old.symlink_to(precious)
    unfinished(path).symlink_to(precious.with_name("nothing"))  # leads nowhere
    fill(path)
    assert not path.is_symlink() and len(Features(path).names) == 2
    assert not list(tmp_path.glob("*.partial"))


def test_a_checkpoint(precious, tmp_path):
    folder = checkpoint.folder_of(tmp_path)
    folder.mkdir()
    for name in ("00000003.partial", "00000003.pt", "00000003.pt.partial"):
        (folder / name).symlink_to(precious)
    path = checkpoint.save(tmp_path, 3, {"model": {}})
    assert not path.is_symlink() and checkpoint.load_last(tmp_path)[1]["step"] == 3


def test_files_that_are_not_ours_stay(tmp_path):
    """Folders may be links, and others have `.partial` files, too."""
    folder = tmp_path / "downloads"
    folder.mkdir()
    (folder / "film.mkv.partial").touch()
    (tmp_path / "run").mkdir()
    checkpoint.folder_of(tmp_path / "run").symlink_to(folder)
    checkpoint.save(tmp_path / "run", 3, {"model": {}})
    Kept(folder, {}, {})
    assert {path.name for path in folder.iterdir()} == {"film.mkv.partial", "00000003.pt"}


def test_the_log_of_a_run(precious, tmp_path):
    (tmp_path / "log.jsonl").symlink_to(precious)
    log = TrainingLog(tmp_path, 0, 8)
    (tmp_path / "log.jsonl").unlink()
    (tmp_path / "log.jsonl").symlink_to(precious)  # while it runs
    with pytest.raises(BuilderError, match=r"log\.jsonl is a link"):
        log.write(2, {"loss": 1.0}, (8, 0.1))
    log.close()


def test_tensorboards_file_has_a_name_that_nobody_knows(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        TrainingLog(tmp_path / name, 0, 8).close()
    one, other = (next((tmp_path / name).glob("events.out.tfevents.*")) for name in "ab")
    assert one.suffix != other.suffix and len(one.suffix) == 13


def test_finished_files_take_the_place_of_a_link(precious, tmp_path):
    for name in ("result.json", "report.html"):
        (tmp_path / name).symlink_to(precious)
    write_json(tmp_path / "result.json", {"a": 1})
    write_atomically(tmp_path / "report.html", "page")
    assert json.loads((tmp_path / "result.json").read_text()) == {"a": 1}
    assert not (tmp_path / "report.html").is_symlink()


def test_a_new_file_is_never_one_that_is_there(precious, tmp_path):
    (tmp_path / "x").symlink_to(precious)
    with pytest.raises(FileExistsError):
        open_new(tmp_path / "x")
    (tmp_path / "y").symlink_to(precious.with_name("new"))
    with pytest.raises(FileExistsError):
        open_new(tmp_path / "y")


@pytest.mark.parametrize(
    ("link", "said"),
    [("symlink_to", r"a\.zip\.part is a link"), ("hardlink_to", "second name")],
)
def test_a_download_on_its_way(link, said, precious, tmp_path):
    file = Download("http://h/a.zip", tmp_path / "a.zip", tmp_path / "note", "")
    getattr(file.part, link)(precious)
    with pytest.raises(BuilderError, match=said):
        _append(file, io.BytesIO(b"content"), 0, 7, silent)  # type: ignore[arg-type]
    file.part.unlink()


@pytest.mark.parametrize("name", [".fetch", ".fetch/unpacking"])
def test_where_archives_are_unpacked(name, precious, tmp_path):
    place = tmp_path / "ucf" / name
    place.parent.mkdir(parents=True)
    place.symlink_to(precious.parent)
    with pytest.raises(BuilderError, match=f"{name} is a link"):
        fetch(next(iter(DATASETS.values())), tmp_path / "ucf", FetchSettings())


def test_a_run_on_other_disks(finished_run, precious, shards, tmp_path):
    """Its folders are links, and so are files in them."""
    run, disk = tmp_path / "run", tmp_path / "disk"
    shutil.copytree(finished_run, run)
    (run / "checkpoints").rename(disk)
    (run / "checkpoints").symlink_to(disk)
    for name in ("features", "results"):
        (tmp_path / f"disk-{name}").mkdir()
        (run / name).symlink_to(tmp_path / f"disk-{name}")
    result = run / "results" / "retrieval-folder-split1.json"
    for path in (result, run / "report.html", result.with_suffix(".png")):
        path.symlink_to(precious)
    words = ("evaluate", "--task", "retrieval", "--run", run, "--shards", shards)
    said = run_ascnet(*words, cwd=tmp_path)
    assert said.returncode == 0, said.stderr
    assert "results" in json.loads(result.read_text())
    for path in (result, result.with_suffix(".png")):
        assert path.is_file() and not path.is_symlink()
    assert run_ascnet("report", run, cwd=tmp_path).returncode == 0
    assert (run / "features").is_symlink() and (tmp_path / "disk-features").is_dir()
    assert torch.load(next(disk.glob("*.pt")), weights_only=True)


def test_a_file_of_its_own_is_opened(tmp_path):
    os.close(open_own(tmp_path / "x", os.O_WRONLY | os.O_CREAT))
    must_be_own(tmp_path / "x")
    assert stat.S_ISREG((tmp_path / "x").stat().st_mode)
