import shutil

import pytest

from builder.build.build import BuildSettings, How, build
from builder.catalog import folder
from trainer.config.recipe_file import override
from trainer.data.training_set import gather
from trainer.errors import TrainerError


def test_a_split_without_training_videos(shards, tiny):
    other = override(tiny, ("data.split=2",)).data
    with pytest.raises(
        TrainerError, match=r"in split 2; its splits are 1 \(test.*Choose one with .*data.split=1\."
    ):
        gather({shards: str(shards)}, other)


def test_data_of_broken_videos_only(tiny, tmp_path):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.mp4").write_bytes(b"no video")
    shards = tmp_path / "shards"
    build(folder.read(tmp_path / "broken"), shards, BuildSettings(), How(workers=1))
    with pytest.raises(TrainerError, match=r"its splits are none\. It has no videos at all: "):
        gather({shards: str(shards)}, tiny.data)


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
