"""The drawings of a page, each by itself."""

import re
from base64 import b64decode
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from builder.errors import BuilderError
from evaluate.pages import chart, confusion, landscape, nearest_videos
from evaluate.pages.chart import Chart, Level, Line
from evaluate.pages.confusion import Confusion
from evaluate.pages.gallery import _clip
from evaluate.pages.pictures import Pictures
from evaluate.pages.results import Predictions
from evaluate.pages.template import clean, count, safe, seconds
from evaluate.pages.thumbnails import fitting, frames_of, spread, sprite
from tests.drawn_motion import seconds_of
from tests.evaluate.pages.test_pages import fill_store
from tests.evaluate.stores import store_of


def heights(path: str) -> list[float]:
    return [float(y) for y in re.findall(r"[ML][\d.]+ ([\d.]+)", path)]


def line_paths(drawn: str) -> list[str]:
    return re.findall(r'<path class="line[^"]*" d="([^"]*)"', drawn)


def test_higher_values_are_drawn_higher_and_gaps_stay_open():
    drawn = str(
        chart.draw_chart(Chart("T", "", "step", [0, 1, 2, 3], [Line("a", [0, 2, None, 1])]))
    )
    (path,) = line_paths(drawn)
    low, high, middle = heights(path)
    assert high < middle < low
    assert path.count("M") == 2 and path.endswith("h0")  # the gap, and a lone point after it


def test_a_chart_of_one_point_of_nothing_and_of_zeros():
    for values in ([5.0], [None], [0.0]):
        drawn = str(chart.draw_chart(Chart("T", "", "step", [7], [Line("a", values)])))
        assert "nan" not in drawn.lower() and "inf" not in drawn.lower()
    assert "dot" in str(chart.draw_chart(Chart("T", "", "step", [7], [Line("a", [5.0])])))
    assert "a: no value" in Chart("T", "", "step", [7], [Line("a", [None])]).summary


def test_a_chart_says_its_values_and_levels():
    one = Chart("Std", "", "step", [10, 20], [Line("x", [0.1, 0.2])], [Level("healthy", 0.3)], 2)
    assert one.summary == "Std. x: 0.10 at step 10, 0.20 at step 20. healthy: 0.30."
    assert one.latest == "step 20: 0.20"
    assert "healthy" in str(chart.draw_chart(one))


def test_an_axis_reaches_below_0_and_a_band_has_the_gaps_of_its_line():
    assert chart.ticks(-4.0, 0.0) == [-4, -3, -2, -1, 0]
    line = Line("a", [-2.0, -1.0, None, -1.0, -2.0], [0.5, 0.5, None, 0.5, 0.5])
    drawn = str(chart.draw_chart(Chart("T", "", "step", [0, 1, 2, 3, 4], [line])))
    assert ">-2</text>" in drawn
    (band,) = re.findall(r'class="band l0" d="([^"]*)"', drawn)
    assert band.count("M") == band.count("Z") == 2
    (path,) = line_paths(drawn)
    first, second = heights(path)[:2]
    assert first > second  # lower is further down
    assert "± 0.500" in Chart("T", "", "step", [0, 1, 2, 3, 4], [line]).latest


def test_long_lines_are_averaged():
    one = Chart("T", "", "step", list(range(10_000)), [Line("a", [1.0] * 9_999 + [None])])
    thin = chart.thinned(one)
    assert len(thin.x) <= 240 and thin.x[-1] == 9_999
    assert set(thin.lines[0].values) == {1.0}
    assert len(str(chart.draw_chart(one))) < 10_000


@pytest.mark.parametrize("top", [0.003, 0.09, 1.0, 7.7, 250.0, 99_999.0])
def test_ticks_are_few_round_and_below_the_top(top: float):
    found_ticks = chart.ticks(0.0, top)
    assert found_ticks[0] == 0 and 3 <= len(found_ticks) <= 7
    assert all(tick <= top * 1.001 for tick in found_ticks)


def test_words_are_escaped_and_cleaned():
    assert str(safe("<b>\udcff")) == "&lt;b&gt;\\udcff"
    assert clean("naïve 視頻 \u202e\x00") == "naïve 視頻 \\u202e\\x00"
    assert clean("👩\u200d🔬") == "👩\u200d🔬"
    assert (seconds(3.04), seconds(59.96), seconds(3723)) == ("3.0 s", "1:00", "1:02:03")
    assert count(13320) == "13\u202f320"


def test_a_sprite_is_a_strip_of_the_frames_asked_for(dataset):
    video = next(v for v in dataset.videos if v.frames > 10)
    made = sprite(frames_of(video, 2, 9, 4, 64))
    with Image.open(BytesIO(b64decode(made.uri.partition(",")[2]))) as strip:
        assert strip.size == (4 * made.width, made.height)
    assert (made.frames, made.width, made.height) == (4, 64, 48)
    assert made == sprite(frames_of(video, 2, 9, 4, 64))
    short = next(v for v in dataset.videos if v.frames == 5)
    assert len(frames_of(short, 0, 99)) == 5
    assert len(frames_of(short, 3, 3)) == 1


def test_a_frame_that_is_no_jpeg_is_named(dataset, tmp_path):
    video = dataset.videos[0]
    copy = tmp_path / "x.tar"
    content = bytearray(video.shard.read_bytes())
    start = video.location.blob_start
    content[start : start + video.location.blob_bytes] = bytes(video.location.blob_bytes)
    copy.write_bytes(content)
    with pytest.raises(BuilderError, match=r"frame 0 of .* is no whole JPEG"):
        frames_of(type(video)(**(vars(video) | {"shard": copy})), 0, 3)


def test_frames_are_spread_evenly():
    assert spread(0, 7, 8) == list(range(8))
    assert spread(10, 20, 3) == [10, 15, 20]
    assert spread(10, 20, 1) == [15]
    assert spread(0, 4, 5, (0.0, 0.1, 0.2, 0.3, 4.0)) == [0, 3, 3, 4, 4]  # 0, 1, 2, 3 and 4
    assert spread(1, 3, 3, (0.0, 0.1, 0.2, 0.3, 4.0)) == [1, 2, 3]
    assert spread(2, 2, 8, (0.0, 0.1, 0.2, 0.3, 4.0)) == [2]
    assert fitting(320, 240, 160) == (160, 120)
    assert fitting(1080, 1920, 160) == (64, 120)
    assert fitting(1920, 400, 160) == (160, 33)


def test_a_strip_of_unevenly_spaced_frames_plays_at_one_speed(motion):
    """The bar of `half`, whose second half has a fifth of the frames, moves as far each time."""
    half = next(video for video in motion.videos if video.name == "uneven/half.avi")
    strip = sprite(frames_of(half, 0, half.frames - 1, 8, 320))
    with Image.open(BytesIO(b64decode(strip.uri.partition(",")[2]))) as picture:
        frames = np.asarray(picture.convert("RGB")).reshape(-1, 8, strip.width, 3).swapaxes(0, 1)
    expected = np.linspace(0, half.times[-1], 8)
    assert abs(seconds_of(frames) - expected).max() < 1 / 24 + 0.01


def test_the_time_on_the_page_is_the_videos(motion, tmp_path):
    times = (0.0, 0.04, 600.0)
    video = replace(motion.videos[0], frames=3, times=times, fps=2 / 600)
    store = store_of(tmp_path / "x.h5", [video], [np.ones((1, 2))], spans=[[(0, 2)]])
    clip = _clip(store, Pictures(store), 0, None)
    assert clip.time == "0 – 15:00"  # the last frame lasts as the average


def test_confusion_counts_pairs_and_classes():
    own = Confusion(["a", "b", "c"], {(0, 0): 3, (0, 1): 1, (1, 2): 4, (1, 0): 2})
    assert (own.right, own.totals) == (3, [4, 6, 0])
    assert [(p.true, p.predicted, p.times) for p in own.pairs(2)] == [("b", "c", 4), ("b", "a", 2)]
    rows = own.rows()
    assert [(r.name, r.recall, r.taken_for, r.times) for r in rows] == [
        ("b", 0.0, "c", 4),
        ("a", 75.0, "b", 1),
    ]
    drawn = str(confusion.draw_heat_map(own))
    assert drawn.count("M") == 1 + 4 + 0 and ">a</text>" in drawn


def test_the_best_informed_task_tells_the_classes(dataset, tmp_path):
    store = nearest_videos.stores_of(_run(tmp_path, dataset))[0][0]
    searched = nearest_videos.find(store, "1")
    true = store.labels[store.part("1", "test")].tolist()
    names = dict(zip(store.labels.tolist(), store.class_of, strict=True))
    fits = Predictions("l", "linear", "folder", "1", "test", "", [names[0], names[1]], true)
    best = replace(fits, file="f", task="finetune", labels=[1 - label for label in true])
    near = confusion.confusion_of(store, searched)
    assert near is not None and near.by == "of the nearest video"
    linear = confusion.confusion_of(store, searched, [fits])
    assert linear is not None and linear.right == len(true) and linear.file == "l"
    assert "the class that the linear probe names" in linear.summary
    tuned = confusion.confusion_of(store, searched, [fits, best])
    assert tuned is not None and tuned.right == 0 and tuned.file == "f"
    for other in (
        replace(best, labels=[*true, 0]),
        replace(best, split="2"),
        replace(best, part="val"),
        replace(best, dataset="other"),
        replace(best, checkpoint="another"),
        replace(best, classes=[names[1], names[0]]),
        replace(best, classes=[]),
        replace(best, task="knn"),
    ):
        assert confusion.confusion_of(store, searched, [other]) == near
        assert confusion.confusion_of(store, searched, [other, fits]) == linear
    store.splits = {}
    among = confusion.confusion_of(
        store, nearest_videos.find(store, "1"), [fits, replace(fits, split="", part="")]
    )
    assert among is not None and among.by == near.by


def test_a_map_of_many_classes_has_no_names_and_stays_small():
    classes = [f"class {i}" for i in range(400)]
    counts = {(i, (i * 7) % 400): 3 for i in range(400)}
    drawn = str(confusion.draw_heat_map(Confusion(classes, counts)))
    assert "<text" not in drawn and len(drawn) < 20_000


def test_nearest_are_of_the_gallery_and_siblings_are_passed_over(dataset, tmp_path):
    store = nearest_videos.stores_of(_run(tmp_path, dataset))[0][0]
    across = nearest_videos.find(store, "1")
    assert set(across.nearest.ravel()) <= set(store.part("1", "train"))
    assert across.labelled and "from the test part of split 1" in across.how
    assert nearest_videos.find(store, "9").how == across.how  # the split that is there
    store.splits = {}
    among = nearest_videos.find(store, "1")
    groups = np.array(store.groups)
    for query, others in zip(among.queries, among.nearest, strict=True):
        assert query not in others and groups[query] not in groups[others[others >= 0]]


def _run(folder, dataset):
    fill_store(folder, dataset)
    return folder


def test_one_store_for_each_data_set(dataset, tmp_path):
    fill_store(tmp_path, dataset)
    fill_store(tmp_path, dataset, name="folder-trained-3crops.h5")
    stores, said = nearest_videos.stores_of(tmp_path)
    assert [store.path.name for store in stores] == ["folder-trained.h5"]
    assert said == [
        "folder-trained-3crops.h5 holds features of folder too; folder-trained.h5 is shown."
    ]


def test_stores_are_those_of_the_trained_encoder_whatever_their_names(dataset, tmp_path):
    fill_store(tmp_path, dataset, name="folder-1s.h5")
    fill_store(tmp_path, dataset, name="a-trained-x-untrained.h5", encoder="untrained")
    stores, said = nearest_videos.stores_of(tmp_path)
    assert [store.path.name for store in stores] == ["folder-1s.h5"] and not said
    fill_store(tmp_path, dataset, name="folder-trained.h5")
    stores, said = nearest_videos.stores_of(tmp_path)
    assert [store.path.name for store in stores] == ["folder-trained.h5"]
    assert said == ["folder-1s.h5 holds features of folder too; folder-trained.h5 is shown."]


def test_siblings_are_passed_over_however_many_there_are(dataset, tmp_path):
    videos = [
        type(video)(**(vars(video) | {"name": f"{i}", "group": "one", "splits": {}}))
        for i, video in enumerate(dataset.videos * 8)
    ]
    videos[-1] = type(videos[-1])(**(vars(videos[-1]) | {"group": "another"}))
    fill_store(tmp_path, dataset, videos)
    among = nearest_videos.find(nearest_videos.stores_of(tmp_path)[0][0], "1")
    last = len(videos) - 1
    assert (among.nearest[:last, 0] == last).all() and (among.nearest[:last, 1:] == -1).all()
    assert len(set(among.nearest[last])) == nearest_videos.TOP and -1 not in among.nearest[last]


def test_few_classes_have_colours_of_their_own_and_many_turns_of_the_circle():
    assert len({str(landscape.paint(i, 8)) for i in range(8)}) == 8
    assert len({str(landscape.paint(i, 101)) for i in range(101)}) == 101


def test_a_map_is_the_same_every_time_and_lies_within_its_box(dataset, tmp_path):
    store = nearest_videos.stores_of(_run(tmp_path, dataset))[0][0]
    one, two = landscape.lay_out(store), landscape.lay_out(store)
    assert one is not None and two is not None
    assert (one.places == two.places).all()
    assert one.places.min() >= 0
    assert one.places[:, 0].max() <= 1000 and one.places[:, 1].max() <= one.height <= 1000
    assert [(mark.name, mark.videos) for mark in one.classes] == [("bars", 8), ("test", 8)]
    assert str(landscape.draw_map(one)).count("h0") == 16
    store.features[:] = 1
    assert landscape.lay_out(store) is None


def test_thinning_keeps_both_ends():
    assert nearest_videos.thin(np.arange(10), 4).tolist() == [0, 3, 6, 9]
    assert nearest_videos.thin(np.arange(3), 4).tolist() == [0, 1, 2]
