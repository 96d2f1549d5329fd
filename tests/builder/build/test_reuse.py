import shutil
from dataclasses import replace

import pytest

from builder.build.build import BuildSettings, How, build
from builder.build.job import make_sample
from builder.build.reuse import EarlierSample, earlier_samples
from builder.catalog import folder
from builder.decode.frames import FrameSettings
from builder.errors import BuilderError
from builder.shards.dataset import ShardDataset

SETTINGS = BuildSettings(FrameSettings(short_side=32), videos_per_shard=4)


def files(folder):
    return {path.name: path.read_bytes() for path in folder.glob("*.*") if path.is_file()}


def test_copied_samples_are_those_of_decoded_videos(video_folder, tmp_path, monkeypatch):
    """Though keys, labels and shards are others: the earlier build has one class less."""
    catalog = folder.read(video_folder)
    few = tuple(video for video in catalog.videos if video.class_name == "test")
    one_class = replace(catalog, videos=few, classes=("test",))
    build(one_class, tmp_path / "few", SETTINGS, How())
    earlier = earlier_samples(ShardDataset(tmp_path / "few"))
    copied = {k: earlier[v.name] for k, v in enumerate(catalog.videos) if v.name in earlier}
    decoded = []
    real = make_sample

    def seen(task, key, *more):
        decoded.extend([key] if key not in task.earlier else [])
        return real(task, key, *more)

    monkeypatch.setattr("builder.build.job.make_sample", seen)
    build(catalog, tmp_path / "grown", SETTINGS, How(earlier=copied))
    assert len(copied) == 8 and len(decoded) == 8
    build(catalog, tmp_path / "one", SETTINGS, How())
    assert files(tmp_path / "grown") == files(tmp_path / "one")


def test_a_damaged_sample_is_not_copied(video_folder, tmp_path):
    catalog = folder.read(video_folder)
    build(catalog, tmp_path / "old", SETTINGS, How())
    dataset = ShardDataset(tmp_path / "old")
    video = dataset.videos[5]
    shard = bytearray(video.shard.read_bytes())
    shard[video.location.blob_start + 40] ^= 1
    video.shard.write_bytes(shard)
    earlier = earlier_samples(dataset)
    copied = {key: earlier[source.name] for key, source in enumerate(catalog.videos)}
    with pytest.raises(BuilderError, match=f"{video.name} in .* is not what was built"):
        build(catalog, tmp_path / "new", SETTINGS, How(earlier=copied))


def test_a_row_that_was_changed_is_not_copied(dataset, tmp_path):
    shutil.copytree(dataset.folder, tmp_path / "old")
    table = tmp_path / "old" / "videos.jsonl"
    table.write_text(table.read_text().replace('"height": 32', '"height": 31', 1))
    with pytest.raises(BuilderError, match="was changed after it was built: its SHA-256"):
        earlier_samples(ShardDataset(tmp_path / "old"))


def test_a_copy_that_was_interrupted_goes_on_with_the_shards_that_lack(
    dataset, video_folder, tmp_path, monkeypatch
):
    class StopError(Exception):
        pass

    def stop_at_ten(done: int, total: int, text: str) -> None:
        if done == 10:
            raise StopError

    copied, made_for = [], EarlierSample.made_for

    def seen(sample, key, *more):
        copied.append(key)
        return made_for(sample, key, *more)

    monkeypatch.setattr(EarlierSample, "made_for", seen)
    catalog, earlier = folder.read(video_folder), earlier_samples(dataset)
    how = How(earlier={k: earlier[v.name] for k, v in enumerate(catalog.videos)})
    with pytest.raises(StopError):
        build(catalog, tmp_path / "new", SETTINGS, how, stop_at_ten)
    copied.clear()
    build(catalog, tmp_path / "new", SETTINGS, how)
    assert 0 < len(copied) <= 8
    assert files(tmp_path / "new") == files(dataset.folder)
