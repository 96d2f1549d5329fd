"""What is said before a run begins."""

from dataclasses import replace

from trainer.config import override
from trainer.dry_run import data_text
from trainer.training_set import gather


def test_one_source_group_leaves_no_other_video(tiny, training_set):
    one = replace(training_set, groups=(0,) * len(training_set.groups))
    plain = override(tiny, ("objective.exclude_siblings=true",))
    contrast = override(plain, ("objective.appearance_contrast=0.5",))
    assert "Warning" not in data_text(contrast, training_set)
    assert "only appearance is learnt" in data_text(plain, one)
    assert "appearance_contrast" not in data_text(plain, one)
    assert "appearance_contrast finds no other video" in data_text(contrast, one)
    siblings = override(contrast, ("objective.exclude_siblings=false",))
    assert "Warning" not in data_text(siblings, one)


def test_unevenly_spaced_frames(tiny, training_set, motion):
    data = gather({motion.folder: "motion"}, tiny.data)
    said = data_text(tiny, data)
    assert "4 videos have unevenly spaced frames, and strides count stored frames" in said
    assert "--set data.fps=25 follows the frame times" in said
    timed = override(tiny, ("data.fps=25",))
    said = data_text(timed, gather({motion.folder: "motion"}, timed.data))
    assert "4 videos have unevenly spaced frames: strides follow their frame times" in said
    assert "uneven" not in data_text(tiny, training_set)
