import errno
import gzip
import hashlib
import json
import shutil
from collections import namedtuple
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest

from builder.atomic import only_writer
from builder.catalog import official_counts, ucf101
from builder.download import fetch as module
from builder.download import official
from builder.download.fetch import FetchSettings, FetchSummary, fetch
from builder.download.http import DownloadSettings
from builder.download.official import DATASETS, HMDB51, KINETICS400, UCF101, DataSet
from builder.errors import BuilderError
from tests.builder.download.archives import (
    LISTS,
    RAR,
    VIDEOS,
    ZIP,
    files_in,
    rar_of,
    tar_of,
    tool,
    zip_of,
)
from tests.builder.download.server import Server, no_one


@pytest.fixture(autouse=True)
def nothing_published(monkeypatch):
    """The archives here are none of the official ones."""
    monkeypatch.setattr(official, "PUBLISHED", {})


@pytest.fixture(autouse=True)
def unrar(tmp_path_factory, monkeypatch):
    """A program for rar, so that none need be installed (the archives here are stored ones)."""
    folder = tmp_path_factory.mktemp("bin")
    tool(folder)
    monkeypatch.setenv("PATH", str(folder), prepend=":")


@pytest.fixture
def ucf(server: Server) -> Server:
    server.files |= {RAR: rar_of(VIDEOS), ZIP: zip_of(LISTS)}
    server.tags |= {RAR: '"1"', ZIP: '"2"'}
    return server


def settings_of(server: Server, **more: bool) -> FetchSettings:
    return FetchSettings(server.url, download=DownloadSettings(tries=2, pause=0.001), **more)


def get(server: Server, folder: Path, dataset: DataSet = UCF101, *parts: str) -> FetchSummary:
    return fetch(dataset, folder, settings_of(server), parts)


def visible(folder: Path) -> dict[str, bytes]:
    return {name: text for name, text in files_in(folder).items() if not name.startswith(".")}


def test_ucf101_is_fetched_and_can_be_built(ucf, tmp_path):
    folder = tmp_path / "data" / "ucf101"
    summary = get(ucf, folder)
    rar, lists = ucf.files[RAR], ucf.files[ZIP]
    assert summary == FetchSummary(folder, 2, 2, len(rar) + len(lists), 5)
    assert visible(folder) == VIDEOS | LISTS
    names = ["UCF101.rar.json", "UCF101TrainTestSplits-RecognitionTask.zip.json"]
    assert sorted(path.name for path in (folder / ".fetch").iterdir()) == names
    assert json.loads((folder / ".fetch" / "UCF101.rar.json").read_text()) == {
        "url": ucf.url + RAR,
        "bytes": len(rar),
        "sha256": hashlib.sha256(rar).hexdigest(),
        "files": 4,
    }
    catalog = ucf101.read(folder)
    there = [video.name for video in catalog.videos if video.problem is None]
    assert there == [n.removeprefix("UCF-101/") for n in VIDEOS]
    assert catalog.classes == tuple(official_counts.ucf101())


def test_a_second_run_asks_for_nothing(ucf, tmp_path):
    first = get(ucf, tmp_path)
    ucf.asked.clear()
    ucf.files.clear()
    second = get(ucf, tmp_path)
    assert (second.fetched, second.bytes, second.unpacked) == (0, first.bytes, first.unpacked)
    assert ucf.asked == []


def test_what_was_deleted_is_fetched_again(ucf, tmp_path):
    get(ucf, tmp_path)
    shutil.rmtree(tmp_path / "ucfTrainTestlist")
    ucf.asked.clear()
    assert get(ucf, tmp_path).fetched == 1
    assert ucf.asked == [(ZIP, None)]
    assert visible(tmp_path) == VIDEOS | LISTS


def test_archives_are_kept_when_asked(ucf, tmp_path):
    fetch(UCF101, tmp_path, settings_of(ucf, keep_archives=True))
    assert (tmp_path / "UCF101.rar").read_bytes() == ucf.files[RAR]
    assert not list(tmp_path.rglob("*.note"))


def test_an_archive_put_there_by_hand_is_used_and_left(ucf, tmp_path):
    (tmp_path / "UCF101.rar").write_bytes(ucf.files[RAR])
    get(ucf, tmp_path)
    assert ucf.asked == [(ZIP, None)]
    assert visible(tmp_path) == VIDEOS | LISTS | {"UCF101.rar": ucf.files[RAR]}
    assert json.loads((tmp_path / ".fetch" / "UCF101.rar.json").read_text())["url"] is None


def test_hmdb51(server, tmp_path):
    place = "/wp-content/uploads/2013/10"
    classes = {f"{name}.rar": rar_of({f"{name}/a.avi": name.encode()}) for name in ("kick", "run")}
    lists = {"testTrainMulti_7030_splits/kick_test_split1.txt": b"a.avi 1\n"}
    server.files[f"{place}/hmdb51_org.rar"] = rar_of(classes)
    server.files[f"{place}/test_train_splits.rar"] = rar_of(lists)
    assert get(server, tmp_path, HMDB51).unpacked == 3
    videos = {"hmdb51_org/kick/a.avi": b"kick", "hmdb51_org/run/a.avi": b"run"}
    assert visible(tmp_path) == videos | lists


@pytest.fixture
def kinetics(server: Server) -> Server:
    for part in ("train", "val", "test"):
        place = f"/kinetics/400/{part}"
        urls = [f"https://s3.amazonaws.com{place}/part {i}.tar.gz" for i in (0, 1)]
        server.files[f"{place}/k400_{part}_path.txt"] = ("\r\n".join(urls) + "\n\n").encode()
        for i in (0, 1):
            videos = {f"./{part}{i}_000001_000011.mp4": b"%d" % i}
            server.files[f"{place}/part%20{i}.tar.gz"] = gzip.compress(tar_of(videos))
        server.files[f"/kinetics/400/annotations/{part}.csv"] = part.encode()
    return server


def test_kinetics400(kinetics, tmp_path):
    assert get(kinetics, tmp_path, KINETICS400).files == 8
    wanted = {
        f"{part}/{part}{i}_000001_000011.mp4": b"%d" % i
        for part in ("train", "val")
        for i in (0, 1)
    }
    wanted |= {f"annotations/{part}.csv": part.encode() for part in ("train", "val")}
    got = visible(tmp_path)
    assert {name: text for name, text in got.items() if not name.endswith("_path.txt")} == wanted
    kinetics.asked.clear()
    assert get(kinetics, tmp_path, KINETICS400, "test", "val").fetched == 4
    assert all("/test" in path for path, _ in kinetics.asked)
    assert (tmp_path / "test" / "test1_000001_000011.mp4").is_file()


def test_a_kinetics_archive_that_broke_goes_on_alone(kinetics, tmp_path):
    last = "/kinetics/400/val/part%201.tar.gz"
    content = kinetics.files.pop(last)
    with pytest.raises(BuilderError, match="404") as error:
        get(kinetics, tmp_path, KINETICS400, "val")
    assert str(tmp_path / "val" / "part 1.tar.gz") in str(error.value)
    kinetics.files[last] = content
    kinetics.asked.clear()
    assert get(kinetics, tmp_path, KINETICS400, "val").fetched == 1
    assert kinetics.asked == [(last, None)]


def test_a_list_that_is_none_is_named_by_its_line(kinetics, tmp_path):
    kinetics.files["/kinetics/400/val/k400_val_path.txt"] = (
        b"https://s3.amazonaws.com/b.tar.gz\n<html>\n"
    )
    with pytest.raises(BuilderError, match=r"k400_val_path.txt, line 2: '<html>' is no URL"):
        get(kinetics, tmp_path, KINETICS400, "val")


def test_parts_are_of_kinetics_alone(server, tmp_path):
    with pytest.raises(BuilderError, match="'train', and of ucf101 it has no parts"):
        get(server, tmp_path, UCF101, "train")
    with pytest.raises(BuilderError, match="its parts are train, val, test"):
        get(server, tmp_path, KINETICS400, "all")


@pytest.mark.parametrize(
    ("archive", "said"),
    [
        (rar_of(VIDEOS, wrong_crc=True), r"UCF101.rar cannot be unpacked .*Archery_g01_c01"),
        (rar_of({"Other/a.avi": b"1"}), r"holds no folder UCF-101 \(but Other\)"),
        (rar_of(VIDEOS | {"../../escaped": b"1"}), r"UCF101.rar is refused.*escaped"),
    ],
)
def test_a_wrong_archive_is_kept_and_not_done(ucf, tmp_path, archive, said):
    folder = tmp_path / "ucf101"
    right, ucf.files[RAR] = ucf.files[RAR], archive
    with pytest.raises(BuilderError, match=said):
        get(ucf, folder)
    assert set(visible(folder)) == {"UCF101.rar"}
    assert not [*(folder / ".fetch").glob("*.json"), *tmp_path.rglob("escaped")]
    (folder / "UCF101.rar").unlink()
    ucf.files[RAR] = right
    get(ucf, folder)
    assert visible(folder) == VIDEOS | LISTS


class Killed(BaseException):
    pass


def stopping(at: str, done_at: int) -> module.MakeProgress:
    def make(title: str, unit: str) -> AbstractContextManager:
        def report(done: int, total: int, text: str) -> None:
            if (title, done) == (at, done_at):
                raise Killed

        return nullcontext(report)

    return make


@pytest.mark.parametrize(("at", "done"), [("fetching", 1), ("unpacking", 0), ("unpacking", 2)])
def test_a_stop_leaves_nothing_that_looks_finished(ucf, tmp_path, at, done):
    with pytest.raises(Killed):
        fetch(UCF101, tmp_path, settings_of(ucf), progress=stopping(at, done))
    assert not (tmp_path / "UCF-101").exists()
    assert not list((tmp_path / ".fetch").glob("*.json"))
    get(ucf, tmp_path)
    assert visible(tmp_path) == VIDEOS | LISTS
    assert [path for path, _ in ucf.asked].count(RAR) == 1  # what had come was used


def test_what_a_kill_left_is_cleared(ucf, tmp_path):
    """As after a kill in the middle of moving files into place."""
    left = tmp_path / ".fetch" / "unpacking" / "UCF-101" / "Old" / "v_Old_g01_c01.avi"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half")
    half = tmp_path / next(iter(VIDEOS))
    half.parent.mkdir(parents=True)
    half.write_bytes(b"half")
    get(ucf, tmp_path)
    assert visible(tmp_path) == VIDEOS | LISTS


def test_two_fetches_into_one_folder(ucf, tmp_path):
    with only_writer(tmp_path), pytest.raises(BuilderError, match="Another process is writing"):
        get(ucf, tmp_path)


def test_a_disk_without_room_is_refused_before_the_download(ucf, tmp_path, monkeypatch):
    usage = namedtuple("usage", "free")
    size = len(ucf.files[RAR]) + len(ucf.files[ZIP])
    needed = size + len(ucf.files[RAR])  # unpacked, and the larger archive beside it
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: usage(needed - 1))
    with pytest.raises(BuilderError, match=r"not enough room: about 1 MB are needed"):
        get(ucf, tmp_path)
    assert ucf.asked == []
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: usage(needed))
    get(ucf, tmp_path)


def test_a_disk_that_fills_up_is_one_sentence(ucf, tmp_path, monkeypatch):
    def fill(*args: object, **kwargs: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "unpack", fill)
    with pytest.raises(BuilderError, match=r"is full: about 1 MB are needed .*what came is kept"):
        get(ucf, tmp_path)
    assert (tmp_path / "UCF101.rar").is_file()


def test_a_target_that_is_a_file_is_one_sentence(ucf, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BuilderError, match=r"Cannot write .*file"):
        get(ucf, tmp_path / "file")


def test_without_a_program_for_rar_nothing_is_downloaded(ucf, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BuilderError, match=r"UCF101.rar needs a program that unpacks rar") as error:
        get(ucf, tmp_path)
    for words in ("apt-get install unar)", UCF101.files[0].url, str(tmp_path / "UCF-101")):
        assert words in str(error.value)
    assert ucf.asked == []


def test_without_a_network_the_way_by_hand_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(BuilderError, match="Cannot reach 127") as error:
        fetch(UCF101, tmp_path, FetchSettings(no_one()))
    message = str(error.value)
    for file in UCF101.files:
        assert f"{file.url} to {tmp_path / file.name}" in message
    assert UCF101.page in message
    assert ". " not in message


@pytest.mark.parametrize("url", ["mirror", "ftp://mirror", "https://"])
def test_a_mirror_that_is_no_place(tmp_path, url):
    with pytest.raises(BuilderError, match=r"--base-url is .* must begin with http"):
        fetch(UCF101, tmp_path / "x", FetchSettings(url))
    assert not (tmp_path / "x").exists()


def test_every_data_set_lands_in_its_own_folder():
    for dataset in DATASETS.values():
        tables = [file for part in dataset.parts for file in (part.archives, part.annotations)]
        files = [*dataset.files, *tables]
        assert len({file.name for file in files}) == len(files)
        for file in files:
            assert file.url.startswith(("https://", "http://"))
            assert file.into is not None or file.makes == file.name
