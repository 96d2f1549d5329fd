import json
from base64 import b64decode
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from evaluate.features.store import Features
from evaluate.pages import browse
from evaluate.pages.browse import browse_page, browsed_videos
from evaluate.pages.pictures import Pictures
from evaluate.search.search import centre_of
from tests.evaluate.pages.test_pages import fill_store
from tests.evaluate.stores import random_store, store_of, video
from tests.page_reader import Page

ODD = ["<img src=x onerror=alert(1)>.mp4", "</script><b>\u202e.mp4", "caf\\udce9 #1.mp4"]
CENTRED = "mean-centred"


def made(store, most=2000):
    """The page, checked, what its script reads, and why pictures are missing."""
    text, problem = browse_page(store, browsed_videos(store, most), centre_of(store), CENTRED)
    page = Page(text)
    page.check()
    (data,) = page.all("div", id="data")
    return page, json.loads(data["data-videos"]), problem


def links_of(page):
    return [link for link in page.all("a", href="#video=") if "data-class" in link]


def many(path, count, rare=False):
    """A store of `count` videos of a clip each, of three classes, in groups of two; a last one may
    be alone in its class."""
    rows = np.random.default_rng(0).normal(size=(count, 1, 8)).astype(np.float32)
    classes = [f"c{i % 3}" for i in range(count - 1)] + ["rare" if rare else "c0"]
    videos = [
        video(f"{i:05}.mp4", 1, class_name=name, label=0, group=f"{i // 2}")
        for i, name in enumerate(classes)
    ]
    return store_of(path, videos, rows)


def test_the_nearest_are_those_of_the_largest_cosines(tmp_path):
    store = random_store(tmp_path / "x.h5", [2] * 40, 16)
    page, data, _ = made(store)
    rows = store.features - store.features.mean(axis=0)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    cosines = rows @ rows.T
    np.fill_diagonal(cosines, -2)
    best = np.argsort(-cosines, axis=1)[:, :12]
    assert data["near"] == best.tolist()
    wanted = np.take_along_axis(cosines, best, axis=1)
    assert np.allclose(data["cosines"], wanted, atol=6e-4)
    assert len(data["places"]) == 40 and CENTRED in page.text


@pytest.mark.parametrize("count", [1, 2, 6])
def test_few_videos_and_equal_ones(tmp_path, count):
    same = np.ones((1, 4), np.float32)
    store = store_of(tmp_path / "x.h5", [video(f"{i}", 1) for i in range(count)], [same] * count)
    page, data, _ = made(store)
    assert [len(near) for near in data["near"]] == [count - 1] * count
    assert {c for row in data["cosines"] for c in row} <= {1}
    assert "There is no map: there are too few videos, or all features are equal." in page.text
    assert not page.all("canvas") and not page.all("select")


def test_names_are_text_wherever_they_stand(tmp_path):
    videos = [video(name, 1, class_name=name, label=0, group=name) for name in [*ODD, *ODD]]
    store = store_of(
        tmp_path / "x.h5", videos, [np.eye(6, dtype=np.float32)[[i]] for i in range(6)]
    )
    text, _ = browse_page(store, browsed_videos(store, 9), centre_of(store), "as they are")
    assert "<img" not in text and "<b>" not in text and "\u202e" not in text
    assert text.count("</script>") == 1
    page = Page(text)
    for name in (ODD[0], "</script><b>\\u202e.mp4"):
        assert name in page.text
    assert [link["href"] for link in links_of(page)][2] == "#video=caf%5Cudce9%20%231.mp4"


def test_classes_and_groups_can_be_chosen(tmp_path):
    page, _, _ = made(many(tmp_path / "x.h5", 12))
    assert [select["id"] for select in page.all("select")] == ["class", "group"]
    assert "all 3 c0 (5) c1 (4) c2 (3)" in page.text and "all 6 0 (2)" in page.text
    of = [(link["data-class"], link["data-group"]) for link in links_of(page)]
    assert of == [("0" if i == 11 else str(i % 3), str(i // 2)) for i in range(12)]


def test_of_too_many_some_of_every_class_are_shown(tmp_path):
    rare = many(tmp_path / "x.h5", 61, rare=True)
    browsed = browsed_videos(rare, 13)
    classes = [rare.class_of[i] for i in browsed.videos]
    assert sorted(set(classes)) == ["c0", "c1", "c2", "rare"] and classes.count("rare") == 1
    assert all(3 <= classes.count(name) <= 5 for name in ("c0", "c1", "c2"))
    assert len({rare.groups[i] for i in browsed.videos}) >= 10
    assert browsed.videos.tolist() == browsed_videos(rare, 13).videos.tolist()
    assert len(browsed_videos(rare, 2).videos) == 2
    page, data, _ = made(rare, 13)
    said = "13 of 61 videos are shown: one of every class, the others evenly spaced"
    assert said in page.text and len(links_of(page)) == len(data["near"]) == 13


def test_without_shards_the_page_says_so(tmp_path):
    page, _, problem = made(many(tmp_path / "x.h5", 8))
    assert problem.startswith("The shards are no longer at x.")
    assert f"There are no pictures. {problem}" in page.text
    assert not page.all("i") and len(links_of(page)) == 8


def test_films_and_stills_are_made_of_the_shards(dataset, tmp_path):
    store = Features(fill_store(tmp_path, dataset))
    page, data, problem = made(store)
    assert not problem and "There are no pictures" not in page.text
    (sheet,) = [one["data-uri"] for one in page.all("i", **{"data-uri": "data:image/jpeg"})]
    with Image.open(BytesIO(b64decode(sheet.partition(",")[2]))) as picture:
        assert picture.size == (data["columns"] * data["still"][0], data["still"][1])
    films = page.all("i", **{"data-style": "background-image:url(data:image/jpeg"})
    assert len(films) == len(store.names) == 16
    frames = [film["data-style"].partition("--frames:")[2][:1] for film in films]
    assert sorted(frames) == ["5"] + ["8"] * 15  # one is short


def test_a_page_of_as_many_videos_as_are_shown_has_less_than_30_megabytes(tmp_path, monkeypatch):
    share = 100
    monkeypatch.setattr(browse, "MOST_BROWSED", browse.MOST_BROWSED // share)
    monkeypatch.setattr(browse, "_FILMS", browse._FILMS // share)
    monkeypatch.setattr(browse, "_LARGE", 0)
    rng = np.random.default_rng(0)

    def busy(self, where, count, width):
        shape = (width // 4, width * 3 // 16)
        return [
            Image.fromarray(rng.integers(256, size=(*shape[::-1], 3), dtype=np.uint8)).resize(
                (width, width * 3 // 4)
            )
            for _ in range(count)
        ]

    monkeypatch.setattr(Pictures, "frames", busy)
    store = many(tmp_path / "x.h5", browse.MOST_BROWSED)
    text, _ = browse_page(
        store, browsed_videos(store, browse.MOST_BROWSED), centre_of(store), CENTRED
    )
    assert text.count("data-style") == browse.MOST_BROWSED
    assert len(text) - 50_000 < 30_000_000 / share  # without its own script and styles
