"""No name becomes a formula in a spreadsheet, and names are read as they were written."""

import csv
import io
import shutil

import pytest

from builder.catalog import folder
from builder.catalog.spreadsheet_cells import line, read, written
from tests.commands import run_ascnet

FORMULA = '=HYPERLINK("http:__x","y").avi'
NAMES = (FORMULA, "+1.avi", "-x.avi", "@x.avi", "'=1.avi", "''-1.avi", "plain, 'quoted'.avi")
ROWS = (
    "row\r=1+1.avi",
    "row\n=1+1.avi",
    "row\r\n=1+1.avi",
    "cell\t=1.avi",
    "cell;=1.avi",
    'a"b.avi',
)


@pytest.mark.parametrize("name", [*NAMES, "", "'", "'x", "\t=1", "\r=1", "\n=1", "＝1", "1-2"])
def test_a_cell_is_no_formula_and_reads_back(name):
    assert read(written(name)) == name
    assert written(name)[:1] not in ("=", "+", "-", "@", "\t", "\r", "\n", "＝") or not name


@pytest.mark.parametrize("name", ROWS)
def test_a_name_ends_neither_its_cell_nor_its_row(name):
    text = line([name, "next"])
    assert list(csv.reader(io.StringIO(text, newline=""))) == [[name, "next"]]
    assert text.startswith('"')  # so that a program that takes \r, ; or tabs for ends does not


def test_what_was_never_written_so_is_left_as_it_is():
    for cell in ("-3B32lodo2M", "=x", "'quoted' name", "it's"):
        assert read(cell) == cell


def test_tables_of_near_duplicates(make_video, finished_run, tmp_path):
    videos = tmp_path / "videos"
    for name in NAMES + ROWS:
        make_video(videos / name, frames=20)
    for pattern in ("smptebars", "rgbtestsrc", "mandelbrot"):
        make_video(videos / f"{pattern}.avi", frames=20, pattern=pattern)
    shutil.copytree(finished_run, tmp_path / "runs" / "run")
    assert run_ascnet("embed", videos, cwd=tmp_path).returncode == 0
    (store,) = tmp_path.glob("runs/run/features/*.h5")
    words = ["--csv", "pairs.csv", "--groups", videos / "splits.csv"]
    done = run_ascnet("near-duplicates", store, *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for table in (tmp_path / "pairs.csv", videos / "splits.csv"):
        _, *rows = csv.reader(table.open(newline=""))
        assert any(FORMULA in cell for row in rows for cell in row)
        for row in rows:
            assert not any(cell[:1] in ("=", "+", "-", "@") for cell in row if not number(cell))
    groups = {video.name: video.group for video in folder.read(videos).videos}
    assert set(groups) >= set(NAMES + ROWS)
    assert len({groups[name] for name in NAMES + ROWS}) == 1


def number(cell: str) -> bool:
    return cell.removeprefix("-").replace(".", "", 1).isdigit()
