"""near-duplicates --parts, as it is called."""

import csv
import re
from pathlib import Path

import numpy as np
import pytest

from tests.commands import refused, run_ascnet
from tests.evaluate.stores import store_of, video


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """11 videos of 20 to 30 clips, a clip a second. A trailer of video 2, in training, is in video
    5, in test; an intro begins videos 0, 3, 6 and 7."""
    rng = np.random.default_rng(0)
    clips = [rng.normal(size=(20 + i, 128)) for i in range(11)]
    clips[5][10:16] = clips[2][3:9]
    for i in (3, 6, 7):
        clips[i][:5] = clips[0][:5]
    parts = ["train"] * 5 + ["test"] + ["train"] * 5
    videos = [
        video(f"{i}.mp4", len(own), splits={"1": part})
        for i, (own, part) in enumerate(zip(clips, parts, strict=True))
    ]
    return store_of(tmp_path_factory.mktemp("parts") / "x.h5", videos, clips, every=1.0).path


def says(*words: object) -> str:
    done = run_ascnet("near-duplicates", *words, "--parts", cwd=Path.cwd())
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_parts_are_listed_once_with_time_codes(store):
    head, trailer, intro, summary, named = says(store).splitlines()
    assert re.split(r"\s{2,}", head) == [
        *("similarity", "part", "video", "from-to", "and video", "from-to", "speed", "shared by"),
        "split",
    ]
    assert trailer.split()[1:7] == [
        *("1", "2.mp4", "00:03.0-00:08.6", "5.mp4", "00:10.0-00:15.6", "1x"),
    ]
    assert trailer.endswith("1: train/test")
    assert intro.split()[1] == "2" and "4 videos, at their start" in intro
    assert summary == (
        "2 parts in 7 pairs of 11 videos, with a mean similarity of 0.45 or more: 1 part across "
        "the parts of a split"
    )
    assert named == (
        "part 2 is shared by 4 videos, at their start (an intro): 0.mp4 00:00.0-00:04.6, 3.mp4 "
        "00:00.0-00:04.6, 6.mp4 00:00.0-00:04.6 and 1 more"
    )


def test_every_pair_is_in_the_table(store, tmp_path):
    table = tmp_path / "parts.csv"
    text = says(store, "--csv", table, "--show", 1)
    assert "... and 1 more part (--show, --csv)" in text
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert len(rows) == 7 and [row["part"] for row in rows] == ["1"] + ["2"] * 6
    assert (rows[0]["first"], rows[0]["second"]) == ("2.mp4", "5.mp4")
    assert (rows[0]["second_time"], rows[0]["speed"]) == ("00:10.0-00:15.6", "1x")
    assert {row["shared_by"] for row in rows[1:]} == {"4 videos, at their start"}


def test_only_leaks_and_groups(store, tmp_path):
    assert "1 part in 1 pair of 11 videos" in says(store, "--leaks")
    groups = tmp_path / "splits.csv"
    says(store, "--groups", groups)
    rows = list(csv.DictReader(groups.read_text().splitlines()))
    assert len({row["group"] for row in rows}) == 11 - 1 - 3
    assert "0 parts in 0 pairs" in says(store, "--shortest", 7)


def test_a_store_of_evenly_spread_clips_is_refused(tmp_path):
    clips = [np.ones((2, 4)), np.ones((2, 4))]
    few = store_of(tmp_path / "x.h5", [video("a", 2), video("b", 2)], clips).path
    words = refused("near-duplicates", few, "--parts", cwd=Path.cwd())
    assert "has a fixed number of clips per video" in words and "--every 0.25" in words
