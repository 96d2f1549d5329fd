import pytest

from trainer.run.trained_videos import TRAINING_VIDEOS_FILE, count_seen, seen_by, training_sources


def test_a_video_is_known_by_its_source_or_else_by_its_name():
    seen = [("a.avi", "1"), ("b.avi", "2"), ("c.avi", None)]
    assert count_seen([("x.mp4", "1")], seen) == 1  # renamed
    assert count_seen([("a.avi", "9")], seen) == 0  # another video of that name
    assert count_seen([("c.avi", "9"), ("b.avi", None), ("d.avi", None)], seen) == 2
    assert count_seen([("a.avi", "1")], []) == 0


@pytest.mark.parametrize("damage", [None, "", "{", "{}\n", "[1]\n"])
def test_a_run_says_what_it_saw(finished_run, dataset, tmp_path, damage):
    """An older run, or a damaged file, is read from the shards."""
    seen = training_sources(dataset, "1")
    assert len(seen) == 12 and all(digest for _, digest in seen)
    record = {"shards": ["/gone"], "shards_sha256": ["0"]}
    assert seen_by(finished_run, record, "1", dataset) == seen
    if damage is not None:
        (tmp_path / TRAINING_VIDEOS_FILE).write_text(damage)
    assert seen_by(tmp_path, record, "1", dataset) is None
