import json
from dataclasses import asdict, replace

from builder.shards.info import overview
from builder.shards.info_text import render
from builder.shards.manifest import VIDEOS_FILE, Manifest
from builder.shards.video_row import BUILT, FAILED, IGNORED, VideoRow


def manifest(*classes: str) -> Manifest:
    settings = {"dataset": "d", "short_side": 32, "engine": "ffmpeg 7", "videos": 9}
    return Manifest(3, "d", {}, classes, settings, "", ())


def built(key: int, **changes) -> VideoRow:
    row = {"name": f"{key}.avi", "class_name": "a", "group": f"g{key}", "splits": {"1": "train"}}
    row |= {"frames": 40, "width": 170, "height": 128, "fps": 25.0, "bytes": 1000}
    return VideoRow(key=key, status=BUILT, **row | changes)


def failed(key: int, reason: str = "truncated", detail: str = "moov") -> VideoRow:
    return VideoRow(key=key, name=f"{key}.avi", status=FAILED, reason=reason, detail=detail)


def test_a_built_data_set(dataset):
    found = overview(dataset.manifest, dataset.rows(), str(dataset.folder))
    counts, videos = dataset.counts, dataset.videos
    assert (found.expected, found.built, found.frames) == (16, 16, counts["frames"])
    assert found.classes == {"bars": 8, "test": 8}
    for part in ("train", "test"):
        members = [v for v in videos if v.splits["1"] == part]
        its = found.splits["1"][part]
        assert (its.videos, its.groups) == (len(members), len({v.group for v in members}))
    assert found.splits["1"]["none"].videos == 0
    assert found.shared_groups == {"1": 0}
    assert (found.lengths.shortest, found.lengths.longest, found.lengths.short) == (5, 20, 16)
    assert sum(b.videos for b in found.lengths.bins) == 16
    assert found.shards.bytes == sum(p.stat().st_size for p in dataset.folder.glob("*.tar"))
    assert found.frame_bytes == sum(v.location.blob_bytes for v in videos)
    text = render(found)
    assert "16 expected, 16 built, 0 failed" in text
    assert "short_side 32" in text and "videos_sha256" not in text
    assert "failed  " not in text.replace("0 failed", "")
    assert json.loads(json.dumps(asdict(found)))["lengths"]["longest"] == 20


def test_every_class_is_listed_when_asked_for():
    found = overview(manifest("a", "b"), [built(0), built(1)], "x")
    assert "min 0, median 1, max 2; 1 class has no video" in render(found)
    assert "\n            2  a\n            0  b\n" in render(found, every_class=True)
    assert "0  b" not in render(found)


def test_failures_have_their_meaning_and_the_first_few_their_detail():
    rows = [failed(i, detail=f"said\n{i}") for i in range(7)] + [failed(7, "timeout"), built(8)]
    found = overview(manifest("a"), rows, "x")
    assert found.failed == {"truncated": 7, "timeout": 1}
    assert [f.key for f in found.failures] == [0, 1, 2, 3, 4]
    text = render(found)
    assert "7  truncated  the end of the file is missing" in text
    assert r"4.avi  truncated  said\n4" in text and "5.avi" not in text
    assert f"and 3 more: x/{VIDEOS_FILE}" in text


def test_nothing_built_and_nothing_labelled():
    found = overview(manifest(), [failed(0)], "x")
    assert found.lengths is None and found.splits == {} and found.shards.number == 0
    assert "1 expected, 0 built, 1 failed" in render(found)
    bare = overview(manifest(), [built(0, class_name=None, splits={}, fps=None)], "x")
    text = render(bare)
    assert "none (1 video without one)" in text
    assert "\n  splits    none\n" in text
    assert "unknown in 1 videos" in text


def test_files_left_alone_are_no_videos():
    rows = [built(0), VideoRow(key=None, name="x.txt", status=IGNORED, reason="no video")]
    found = overview(manifest("a"), rows, "x")
    assert (found.expected, found.left_alone) == (1, 1)


def test_groups_on_both_sides_are_told():
    rows = [
        built(0, group="g", splits={"1": "train", "2": "train"}),
        built(1, group="g", splits={"1": "test"}),
        built(2, group="h", splits={"1": "test"}),
    ]
    found = overview(manifest("a"), rows, "x")
    assert found.shared_groups == {"1": 1, "2": 0}  # "g" is in no other part of split 2
    assert found.splits["2"]["none"].groups == 2
    assert "split 1: 1 groups lie in more than one part" in render(found)


def test_splits_come_in_the_order_of_their_numbers():
    rows = [built(0, splits={"10": "train", "2": "train", "1": "train"})]
    assert list(overview(manifest("a"), rows, "x").splits) == ["1", "2", "10"]


def test_bars_cover_all_lengths_and_one_long_video_does_not_squeeze_them():
    lengths = [*range(30, 130), 100000]
    rows = [built(i, frames=n) for i, n in enumerate(lengths)]
    its = overview(manifest("a"), rows, "x").lengths
    assert (its.shortest, its.longest, its.short, its.median) == (30, 100000, 1, 80)
    assert 5 <= len(its.bins) <= 11
    for b in its.bins:
        assert b.videos == sum(b.first <= n <= b.last for n in lengths)
    assert sum(b.videos for b in its.bins) == len(lengths)
    assert max(b.videos for b in its.bins) < 30


def test_videos_of_one_length_are_one_bar():
    its = overview(manifest("a"), [built(0), built(1)], "x").lengths
    assert [(b.first, b.last, b.videos) for b in its.bins] == [(40, 40, 2)]


def test_most_frequent_sizes_come_first():
    rows = [built(0, width=128), *(built(i) for i in range(1, 4))]
    rows += [built(10 + i, width=200 + i) for i in range(5)]
    found = overview(manifest("a"), rows, "x")
    assert (found.sizes[0].width, found.sizes[0].videos) == (170, 3)
    assert "170x128 in 3 videos, 128x128 in 1, " in render(found)
    assert "2 others in 2" in render(found)


def test_unevenly_spaced_frames_are_counted(motion, dataset):
    found = overview(motion.manifest, motion.rows(), "x")
    assert found.uneven == asdict(found)["uneven"] == 4
    assert "4 with unevenly spaced frames: their rate is an average" in render(found)
    even = overview(dataset.manifest, dataset.rows(), "x")
    assert even.uneven == 0 and "uneven" not in render(even)


def test_schema_2_does_not_know_whether_frames_are_evenly_spaced():
    old = replace(manifest("a"), schema=2)
    found = overview(old, [built(0)], "x")
    assert found.uneven is None
    assert "built before frame times were kept" in render(found)
    resampled = replace(old, settings=old.settings | {"fps": 25.0})
    assert overview(resampled, [built(0)], "x").uneven == 0
