"""What is said before a run begins."""

from dataclasses import replace

from trainer.config import override
from trainer.dry_run import data_text


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
