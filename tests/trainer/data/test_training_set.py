import shutil

import pytest

from trainer.config.recipe_file import override
from trainer.data.training_set import gather
from trainer.errors import TrainerError


def test_a_split_without_training_videos(shards, tiny):
    other = override(tiny, ("data.split=2",)).data
    with pytest.raises(
        TrainerError, match=r"no training videos in split 2; its splits are 1 \(test"
    ):
        gather({shards: str(shards)}, other)


def test_groups_of_several_data_sets_are_kept_apart(shards, tiny, tmp_path):
    shutil.copytree(shards, tmp_path / "copy")
    once = gather({shards: str(shards)}, tiny.data)
    twice = gather({shards: "one", tmp_path / "copy": "two"}, tiny.data)
    assert len(twice.videos) == 2 * len(once.videos)
    assert len(set(once.groups)) == len({video.group for video in once.videos})
    assert len(set(twice.groups)) == 2 * len(set(once.groups))


def test_videos_too_short_for_the_policy(shards, tiny):
    strict = override(tiny, ("data.short_videos=error",)).data
    with pytest.raises(TrainerError, match=r"1 of \d+ training videos are too short for 4 frames"):
        gather({shards: str(shards)}, strict)
