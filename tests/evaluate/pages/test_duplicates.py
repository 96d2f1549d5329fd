import json

import numpy as np
import pytest

from evaluate.pages import duplicates
from evaluate.pages.duplicates import SourceFile, Wording, duplicates_page
from evaluate.search.copies import copy_groups
from evaluate.search.duplicates import find_pairs
from evaluate.search.search import centre_of
from tests.evaluate.stores import store_of, video
from tests.page_reader import Page

ODD = '<img src=x onerror=alert(1)>\u202e"=1.mp4'


@pytest.fixture
def store(tmp_path):
    """Two videos and a copy of each, one in the other part of a split."""
    rng = np.random.default_rng(0)
    clips = [rng.normal(size=(3, 32)).astype(np.float32) for _ in range(2)]
    names = [ODD, "b.mp4", "c.mp4", "d.mp4"]
    splits = [{"1": "train" if i < 3 else "test"} for i in range(4)]
    videos = [video(n, 3, splits=s) for n, s in zip(names, splits, strict=True)]
    return store_of(tmp_path / "x.h5", videos, [clips[0], clips[0], clips[1], clips[1]])


def page_of(store, files, shown=None):
    groups = copy_groups(find_pairs(store, 0.99, centre_of(store, "none")))
    wording = Wording("Summary.", len(groups), "ascnet build")
    return duplicates_page(store, groups[:shown], files, wording)


def test_a_card_a_video_with_what_is_proposed(store):
    files = {
        0: SourceFile("n0", 1_500_000, 3.0, (640, 480), (64, 48)),
        1: SourceFile("n1", 9_000, 3.0, (320, 240), (64, 48)),
        2: SourceFile("n2", 900, None, None, (64, 48)),
        3: SourceFile("n3"),
    }
    text = page_of(store, files)
    page = Page(text)
    page.check()
    boxes = [box for box in page.all("input") if "data-video" in box]
    assert [box["data-video"] for box in boxes if "checked" in box] == ["0", "2"]
    assert len(boxes) == 4
    for words in (
        "picture 640 × 480 file 1.5 MB bitrate 4 000 kbit/s",
        "stored picture 64 × 48 file 0.9 kB bitrate 2 kbit/s",
        "00:00.0-00:02.6 resembles 00:00.0-00:02.6 of b.mp4 (1.000)",
        "In different parts of a split: 1: train/test",
        "There are no pictures. The shards are no longer at x.",
    ):
        assert words in page.text, words
    (saved,) = page.all("div", id="saved")
    saved = json.loads(saved["data-saved"])
    assert saved == {
        "key": f"ascnet-decisions-{store.checksum}",
        "cells": [files[int(box["data-video"])].cell for box in boxes],
    }
    assert "<img" not in text and "\u202e" not in text and "&lt;img src=x" in text


def test_groups_that_are_not_shown_are_counted(store):
    text = Page(page_of(store, dict.fromkeys(range(4), SourceFile("n")), shown=1)).text
    assert "1 of 2 groups are on this page, those with the best pairs; --show N shows more." in text


def test_pictures_end_and_the_page_says_so(store, monkeypatch):
    monkeypatch.setattr(duplicates, "MOST_PICTURES", 3)
    drawn = []

    class Drawing:
        problem = ""

        def __init__(self, store):
            self.draw = lambda *args: drawn.append(args)

    monkeypatch.setattr(duplicates, "Pictures", Drawing)
    text = Page(page_of(store, dict.fromkeys(range(4), SourceFile("n")))).text
    assert len(drawn) == 3
    assert "A page has pictures of at most 3 videos; use a smaller --show." in text
