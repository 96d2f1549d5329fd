import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from builder.errors import BuilderError
from builder.shards import contact_sheet as sheet
from builder.shards.contact_sheet import draw_sheet, evenly_spaced, find_video
from builder.shards.dataset import ShardDataset, read_frames, read_offsets
from builder.shards.jpeg import open_frame
from builder.shards.manifest import VIDEOS_FILE


def test_by_key_and_by_name(dataset):
    video = dataset.videos[3]
    assert find_video(dataset, "3") == video == find_video(dataset, video.name)


def test_an_unknown_video_names_what_is_allowed(dataset):
    with pytest.raises(BuilderError, match=r"'16'.*keys 0 to 15"):
        find_video(dataset, "16")
    with pytest.raises(BuilderError, match=r"such as 'bars/v_bars_g01_c01\.avi'"):
        find_video(dataset, "V_BARS_g01")
    with pytest.raises(BuilderError, match=f"as {VIDEOS_FILE} lists them"):
        find_video(dataset, "nothing like it")


@pytest.fixture
def changed(dataset, tmp_path) -> ShardDataset:
    """A copy whose video 0 has failed, whose video 1 has the name "7", and with an ignored file."""
    copy = tmp_path / "copy"
    shutil.copytree(dataset.folder, copy)
    rows = [row.to_json() for row in dataset.rows()]
    rows[0] |= {"status": "failed", "reason": "truncated", "detail": "moov atom not found"}
    rows[1]["name"] = "7"
    rows.append({"key": None, "name": "x.txt", "status": "ignored", "reason": "no video"})
    (copy / VIDEOS_FILE).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return ShardDataset(copy)


def test_a_video_that_is_not_in_the_shards_has_its_reason(changed):
    with pytest.raises(BuilderError, match=r"truncated \(the end of.*; moov atom not found\)"):
        find_video(changed, "0")
    with pytest.raises(BuilderError, match=r"x\.txt is not in the shards: no video\."):
        find_video(changed, "x.txt")


def test_a_name_goes_before_a_key(changed):
    assert find_video(changed, "7").location.key == 1


@pytest.mark.parametrize(
    "frames, wanted, numbers",
    [
        (1, 32, [0]),
        (3, 3, [0, 1, 2]),
        (100, 1, [50]),
        (100, 2, [0, 99]),
        (9, 5, [0, 2, 4, 6, 8]),
    ],
)
def test_evenly_spaced(frames, wanted, numbers):
    assert evenly_spaced(frames, wanted) == numbers


def test_the_frames_are_drawn_in_their_order(dataset):
    """The test pattern counts, so its frames differ; tiny ones are magnified four times."""
    video = next(v for v in dataset.videos if v.class_name == "test" and v.frames > 16)
    scale = 128 // max(video.width, video.height)
    drawn = np.asarray(draw_sheet(video, 4))
    jpegs = read_frames(video, read_offsets(video), evenly_spaced(video.frames, 4))
    whole = drawn.tobytes()
    places = []
    for jpeg in jpegs:
        picture = np.asarray(open_frame(video, 0, jpeg))
        line = picture[video.height // 2].repeat(scale, axis=0).tobytes()
        assert whole.count(line) >= scale
        y, x = divmod(whole.index(line), drawn.shape[1] * 3)
        places.append((y, x))
    assert len(set(places)) == 4
    assert places == sorted(places)


@pytest.mark.parametrize("font", ["outline", "bitmap"])
def test_nothing_runs_over_the_edge(dataset, monkeypatch, font):
    if font == "bitmap":  # as PIL is without freetype

        def load(size=None):
            if size is not None:
                raise ImportError("no freetype")
            return sheet.ImageFont.load_default_imagefont()

        monkeypatch.setattr(sheet.ImageFont, "load_default", load)
    long = "Säule/视频/" + "W" * 400 + "\udcff\n.avi"
    video = dataset.videos[2]
    offsets = read_offsets(video)
    monkeypatch.setattr(sheet, "read_offsets", lambda _: offsets)  # it is not called so there
    drawn = draw_sheet(
        replace(video, name=long, class_name=long, group=long, splits={long: "train"}), 9
    )
    pixels = np.asarray(drawn)
    for edge in (pixels[:, :8], pixels[:, -8:], pixels[:8], pixels[-8:]):
        assert (edge == 255).all()
    assert (pixels[:40, -100:] < 255).any()  # the name reaches to the margin


def test_times_and_captions():
    assert [sheet._time(s) for s in (0, 3.04, 59.999, 63.04, 3600.5)] == [
        "0.00 s",
        "3.04 s",
        "1:00.00",
        "1:03.04",
        "1:00:00.50",
    ]
    assert sheet._caption(5, None) == "5"
    assert sheet._caption(5, 25.0) == "5   0.20 s"
    assert sheet._caption(2, 25.0, (0.0, 0.5, 0.75, 9.0)) == "2   0.75 s"


def test_captions_say_the_times_of_the_frames(motion, monkeypatch):
    said = []
    monkeypatch.setattr(sheet, "_caption", lambda *words: said.append(words) or "x")
    for video in motion.videos:
        draw_sheet(video, 3)
        middle = evenly_spaced(video.frames, 3)[1]
        assert said[-2] == (middle, video.fps, video.times)
        assert ("on average" in sheet._facts(video)[-1]) == (video.times is not None)


def test_a_full_last_row_is_preferred():
    assert sheet._columns(32, 0.9) == 8
    assert sheet._columns(1, 0.9) == 1


def test_a_damaged_shard_is_a_message(dataset, tmp_path):
    video = dataset.videos[0]
    copy = tmp_path / video.shard.name
    content = bytearray(video.shard.read_bytes())
    start = video.location.blob_start
    content[start : start + 200] = bytes(200)
    copy.write_bytes(content)
    with pytest.raises(BuilderError, match=r"frame 0 of .* is no whole JPEG"):
        draw_sheet(replace(video, shard=copy), 4)
