"""near-duplicates --html, as it is called, and what its page saves as build reads it."""

import csv
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from builder.catalog import folder
from builder.catalog.decisions import leave_out
from tests.commands import run_ascnet
from tests.evaluate.stores import store_of, video
from tests.page_reader import Page

NAMES = ["one.mp4", '=2,"\n<b>.mp4', "caf\udce9.mp4"]


def says(*words: object, fails: bool = False) -> str:
    done = run_ascnet("near-duplicates", *words, cwd=Path.cwd())
    assert (done.returncode != 0) == fails, done.stderr
    return done.stderr if fails else done.stdout


@pytest.fixture
def store(make_video, tmp_path):
    """Of three copies; the second one is the largest, the third one is not there any more."""
    make_video(tmp_path / "v" / NAMES[0], frames=2)
    make_video(tmp_path / "v" / NAMES[1], frames=2, size="128x96")
    rows = np.random.default_rng(0).normal(size=(2, 16)).astype(np.float32)
    return store_of(tmp_path / "x.h5", [video(name, 2) for name in NAMES], [rows] * 3).path


def table_of(page: Page, decisions: list[str]) -> str:
    """What the script of the page saves."""
    (saved,) = page.all("div", id="saved")
    cells = json.loads(saved["data-saved"])["cells"]
    rows = [f"{cell},{word},1\n" for cell, word in zip(cells, decisions, strict=True)]
    return "".join(["video,decision,group\n", *rows])


def test_a_page_and_a_table_that_the_build_reads(store, tmp_path):
    out = tmp_path / "pages" / "copies.html"
    text = says(store, "--centring", "none", "--html", out, "--source", tmp_path / "v")
    assert f"{out}: 1 of 1 groups" in text
    page = Page(out.read_text(encoding="utf-8"))
    page.check()
    assert "picture 128 × 96" in page.text and "picture 64 × 48" in page.text
    assert f"build folder --source {tmp_path / 'v'} --without decisions.csv" in page.text
    shutil.copy(tmp_path / "v" / NAMES[0], tmp_path / "v" / NAMES[2])
    table = tmp_path / "decisions.csv"
    text = table_of(page, ["drop", "keep", "drop"])
    table.write_text(text, encoding="utf-8", newline="")
    assert all(row[0][:1] != "=" for row in csv.reader(io.StringIO(text, newline="")))
    after = leave_out(folder.read(tmp_path / "v"), table)
    assert [video.name for video in after.videos] == [NAMES[1]]
    assert {name for name, _ in after.left_alone} == {NAMES[0], NAMES[2]}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--source", "."], "--source is for the page of --html"),
        (["--html", "x.htm"], "'x.htm' must end in .html."),
        (["--html", "x.html", "--show", 0], "--show is 0, which would leave the page"),
        (["--html", "x.html", "--parts"], "omit --parts"),
    ],
)
def test_options_that_do_not_fit(tmp_path, words, said):
    assert said in says(tmp_path / "x.h5", *words, fails=True)


def test_names_that_are_too_long_for_the_disk_once_escaped(tmp_path):
    rows = np.random.default_rng(0).normal(size=(2, 16)).astype(np.float32)
    names = ["one.mp4", "caf" + 60 * "\udce9" + ".mp4"]
    store = store_of(tmp_path / "x.h5", [video(name, 2) for name in names], [rows] * 2).path
    (tmp_path / "one.mp4").write_text("no video")
    out = tmp_path / "x.html"
    words = ["--centring", "none", "--html", out, "--groups", tmp_path / "y.csv"]
    assert f"{out}: 1 of 1 groups" in says(store, *words, "--source", tmp_path)


def test_a_table_in_a_folder_that_is_not_there_yet(store, tmp_path):
    says(store, "--centring", "none", "--csv", tmp_path / "new" / "pairs.csv")
    assert len((tmp_path / "new" / "pairs.csv").read_text().splitlines()) >= 4
    (tmp_path / "file").touch()
    error = says(store, "--csv", tmp_path / "file" / "pairs.csv", fails=True)
    assert "file" in error and "partial" not in error and "comparing" not in error


def test_groups_on_the_page_have_the_numbers_of_the_table(tmp_path):
    """With --leaks, too, where the first group has none."""
    rng = np.random.default_rng(0)
    rows = [rng.normal(size=(2, 16)).astype(np.float32) for _ in range(2)]
    clips = [rows[0], rows[0], rows[1], rows[1] + 0.05 * rng.normal(size=(2, 16))]
    parts = ("train", "train", "train", "test")
    videos = [video(f"{i}.mp4", 2, splits={"1": part}) for i, part in enumerate(parts)]
    store = store_of(tmp_path / "x.h5", videos, [c.astype(np.float32) for c in clips]).path
    out, words = tmp_path / "x.html", ["--centring", "none", "--leaks"]
    text = says(store, *words, "--html", out)
    (row,) = [line for line in text.splitlines() if "2.mp4" in line and "3.mp4" in line]
    assert row.split()[1] == "2" and f"{out}: 1 of 1 groups" in text
    assert "Group 2" in Page(out.read_text(encoding="utf-8")).text


def test_a_source_with_none_of_the_videos(store, tmp_path):
    (tmp_path / "other").mkdir()
    words = [store, "--centring", "none", "--html", tmp_path / "x.html"]
    error = says(*words, "--source", tmp_path / "other", fails=True)
    assert "None of the 3 videos is below" in error and "the first would be" in error
