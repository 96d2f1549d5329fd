"""`ascnet browse`, as it is called."""

from pathlib import Path

import pytest

from tests.commands import refused, run_ascnet
from tests.evaluate.stores import random_store
from tests.page_reader import Page


def says(*words: object) -> str:
    done = run_ascnet("browse", *words, cwd=Path.cwd())
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def store(tmp_path):
    return random_store(tmp_path / "x.h5", [1] * 12, 8).path


def test_a_page_beside_the_store(store):
    text = says(store)
    page = store.with_suffix(".html")
    assert text.startswith(f"{page} (") and "kB): 12 videos\n" in text
    assert "The shards are no longer at x." in text
    Page(page.read_text(encoding="utf-8")).check()


def test_fewer_videos_than_there_are(store, tmp_path):
    out = tmp_path / "deep" / "a.html"
    text = says(store, "--out", out, "--show", 11, "--centring", "none")
    assert "11 of 12 videos: evenly spaced in the order of groups (--show N shows more)" in text
    assert "as the network gives them" in Page(out.read_text(encoding="utf-8")).text


def test_what_is_no_store_or_no_page_is_refused(store, tmp_path):
    (tmp_path / "text.h5").write_text("text")
    for words, said in (
        ([tmp_path / "none.h5"], "There is no feature store"),
        ([tmp_path / "text.h5"], "is not a feature store, as it is no HDF5 file"),
        ([store, "--out", "x.htm"], "'x.htm' must end in .html."),
        ([store, "--show", 0], "0 is not in the range x>=1"),
    ):
        assert said in refused("browse", *words, cwd=tmp_path)
