import numpy as np
import pytest

from builder.catalog import shapes
from builder.errors import BuilderError


def test_the_layout_is_that_of_ucf101():
    clips = shapes.clips()
    assert len(clips) == 768
    assert clips[0].name == "ChecksBounce/v_ChecksBounce_g01_c01.avi"
    assert len({clip.class_name for clip in clips}) == 24
    siblings = [clip for clip in clips if (clip.class_name, clip.group) == ("DotsSpin", 3)]
    assert len({clip.outline for clip in siblings}) == 1


def test_clips_move_and_differ_in_scene():
    first, sibling, stranger = (
        shapes.draw(shapes.DrawnClip("Dots", "Spin", *place)) for place in ((1, 1), (1, 2), (2, 1))
    )
    assert first.shape[1:] == (120, 160, 3)
    assert 36 <= len(first) <= 48
    assert np.abs(np.diff(first.astype(np.int16), axis=0)).mean() > 3
    colour = first.mean(axis=(0, 1, 2))
    assert np.abs(sibling.mean(axis=(0, 1, 2)) - colour).max() < 8
    assert np.abs(stranger.mean(axis=(0, 1, 2)) - colour).max() > 8


def test_a_drawing_is_the_same_every_time():
    clip = shapes.DrawnClip("Clouds", "Swing", 4, 2)
    assert (shapes.draw(clip) == shapes.draw(clip)).all()


def test_make_and_read(tmp_path, monkeypatch):
    few = [c for c in shapes.clips() if c.class_name == "DotsSpin" and c.group in (1, 6)]
    monkeypatch.setattr(shapes, "clips", lambda: few)
    with pytest.raises(BuilderError, match="holds no finished `shapes`"):
        shapes.read(tmp_path)
    shapes.make(tmp_path, workers=2)
    catalog = shapes.read(tmp_path)
    assert all(video.path.stat().st_size > 1000 for video in catalog.videos)
    assert catalog.videos[0].splits == {"1": "test", "2": "train", "3": "train"}
    assert catalog.videos[0].factors["programme"] == "Spin"

    def times() -> list[int]:
        return [video.path.stat().st_mtime_ns for video in catalog.videos]

    before = times()
    shapes.make(tmp_path, workers=2)
    assert times() == before
    catalog.videos[3].path.unlink()  # what is gone is drawn again, and nothing else
    shapes.make(tmp_path, workers=2)
    assert sum(now != then for now, then in zip(times(), before, strict=True)) == 1
    before = times()
    monkeypatch.setattr(shapes, "_VERSION", 999)
    shapes.make(tmp_path, workers=2)
    assert times() != before
