"""Pages whose shards are gone or damaged lose pictures and lists, and nothing else."""

import json
import shutil
from pathlib import Path

import pytest

from builder.shards.dataset import ShardDataset
from builder.shards.manifest import DATASET_FILE, VIDEOS_FILE
from evaluate.features.store import Features
from evaluate.pages.report import make_report
from evaluate.pages.results import read_results
from evaluate.pages.search import search_page
from evaluate.search.search import search
from tests.page_reader import Page


def cut_tars(folder: Path) -> None:
    for tar in folder.glob("*.tar"):
        tar.write_bytes(tar.read_bytes()[:600])


def spoil_members(folder: Path) -> None:
    """The JSON members of all samples."""
    for video in ShardDataset(folder).videos:
        with video.shard.open("r+b") as file:
            file.seek(video.location.json_start)
            file.write(b"{" * video.location.json_bytes)


def cut_rows(folder: Path) -> None:
    path = folder / VIDEOS_FILE
    path.write_bytes(path.read_bytes()[:-9])


def rows_without_keys(folder: Path) -> None:
    (folder / VIDEOS_FILE).write_text('{"status": "built"}\n')


def other_frames(folder: Path) -> None:
    """Built anew: fewer frames of each video."""
    path = folder / VIDEOS_FILE
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(row | {"frames": row["frames"] - 1}) + "\n" for row in rows))


def cut_info(folder: Path) -> None:
    path = folder / DATASET_FILE
    path.write_bytes(path.read_bytes()[:-9])


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (cut_tars, "Some frames cannot be read."),
        (spoil_members, "tar was changed after it was built: "),
        (cut_rows, "cannot be read."),
        (rows_without_keys, "videos.jsonl was changed after it was built: "),
        (other_frames, "has another number of frames"),
        (cut_info, "cannot be read."),
        (shutil.rmtree, "The shards are no longer at"),
    ],
)
def test_pictures_are_missing_and_the_page_is_there(run_on_copy, copy, damage, problem):
    store = Features(run_on_copy / "features" / "folder-trained.h5")
    damage(copy)
    report = Page(make_report(run_on_copy))
    report.check()
    assert problem in report.text
    matches = search(store, store.clip_features[:1], 3, store.clip_features.mean(axis=0) * 0)
    page = Page(search_page(store, store, matches, "how"))
    page.check()
    assert "There are no pictures of the results." in page.text and problem in page.text
    for seen in (report, page):
        assert not seen.all("div", style="data:image")
        assert seen.all("div", **{"class": "nofilm"})


def test_one_damaged_video_costs_its_own_picture(run_on_copy, copy):
    store = Features(run_on_copy / "features" / "folder-trained.h5")
    video = ShardDataset(copy).videos[3]
    with video.shard.open("r+b") as file:
        file.seek(video.location.json_start)
        file.write(b"{" * video.location.json_bytes)
    matches = search(store, store.clip_features[:1], 16, store.clip_features.mean(axis=0) * 0)
    page = Page(search_page(store, store, matches, "how"))
    assert "Some pictures are missing. Some frames cannot be read." in page.text
    assert page.all("div", style="data:image")


def test_damaged_rows_leave_the_counts_that_were_written_down(run_on_copy, copy):
    cut_rows(copy)
    text = Page(make_report(run_on_copy)).text
    assert f"The rows of {copy} cannot be read, so there is no list" in text
    assert "16 videos expected, 16 built, 0 failed" in text


@pytest.mark.parametrize("value", [None, 7, [], {}, float("nan")])
@pytest.mark.parametrize("key", ["task", "dataset"])
def test_a_result_whose_names_are_no_names_is_left_out(tmp_path, key, value):
    result = {"task": "retrieval", "dataset": "d", "split": "1", "columns": [], "results": {}}
    run = tmp_path / "run"
    (run / "results").mkdir(parents=True)
    for file, own in (("a.json", result), ("b.json", result | {key: value})):
        (run / "results" / file).write_text(json.dumps(own))
    own = read_results(run)
    tables, (unread,) = own.tables, own.unread
    assert [table.file for table in tables] == ["a.json"]
    assert unread.file == "b.json" and "not a result of ascnet" in unread.reason
