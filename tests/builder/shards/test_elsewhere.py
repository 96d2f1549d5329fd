import shutil

import pytest

from builder.errors import BuilderError
from builder.shards.dataset import ShardDataset, find_datasets
from builder.shards.elsewhere import no_shards, unfinished_text
from builder.shards.manifest import DATASET_FILE, NOTES


def said_of(place) -> str:
    with pytest.raises(BuilderError) as caught:
        find_datasets(place)
    return str(caught.value)


def test_every_wrong_place_is_told_apart(shards, tmp_path):
    assert "there is no such folder. Build some first" in said_of(tmp_path / "none")
    tar = next(shards.glob("*.tar"))
    assert f"it is one shard. Name its folder, {shards}." in said_of(tar)
    (tmp_path / "notes.txt").write_text("x")
    assert "it is a file. Name the folder of a data set" in said_of(tmp_path / "notes.txt")
    assert f"neither {tmp_path / DATASET_FILE} nor one" in said_of(tmp_path)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b.MP4").touch()
    build = f"`ascnet build folder --source {tmp_path}`"
    assert f"it holds videos, and shards are built of them: {build}" in said_of(tmp_path)
    assert "it is a video" in said_of(tmp_path / "a" / "b.MP4")
    shutil.copytree(shards, tmp_path / "shards" / "folder")
    assert f"one folder further down. Name {tmp_path / 'shards'}." in said_of(tmp_path)
    with pytest.raises(BuilderError, match=r"holds 1 data set: name .*shards/folder"):
        ShardDataset(tmp_path / "shards")


def test_an_unfinished_build_is_named_in_its_place_and_among_others(shards, tmp_path):
    shutil.copytree(shards, tmp_path / "half")
    assert unfinished_text(tmp_path) == unfinished_text(tmp_path / "half") == ""
    (tmp_path / "half" / DATASET_FILE).unlink()
    begun = tmp_path / "begun" / NOTES
    begun.mkdir(parents=True)
    assert "its build is not finished. Give the same" in no_shards(tmp_path / "half")
    both = f"the build of {begun.parent}, {tmp_path / 'half'} is not finished."
    assert both in unfinished_text(tmp_path) and both in no_shards(tmp_path)
