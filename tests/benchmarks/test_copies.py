import csv

import pytest

from benchmarks import copies
from benchmarks.copies import KINDS, clips_of, make_copy, scores_of
from tests.evaluate.stores import random_store


def test_what_is_copied_is_of_one_scene_each_and_of_no_other_clip_s_scene(tmp_path, monkeypatch):
    monkeypatch.setattr(copies, "COPIED", 4)
    rows = [
        {"file": f"{scene}-{i}.mp4", "subset": "s", "group": f"g{scene}", "dur": length}
        for scene in range(8)
        for i, length in enumerate(("5.0", "40.0", ""))
    ]
    with (tmp_path / "MANIFEST.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    copied, others = clips_of(tmp_path)
    scenes = {path.name[0] for path, _ in copied}
    assert len(copied) == len(scenes) == 4 and {length for _, length in copied} == {5.0}
    assert len(others) == 8 and scenes.isdisjoint(path.name[0] for path in others)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_copy_can_be_made(kind, make_video, tmp_path):
    original = make_video(tmp_path / "a.mp4", frames=50)
    make_copy(original, 2.0, kind, tmp_path / "copy.mp4")
    assert (tmp_path / "copy.mp4").stat().st_size > 500


def test_scores_are_of_both_orders(tmp_path):
    scores = scores_of(random_store(tmp_path / "x.h5", [3, 4, 2, 5], 6).path)
    assert scores and all(scores[b, a] == score >= 0.5 for (a, b), score in scores.items())
