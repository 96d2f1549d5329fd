import io
import json
import shutil
import subprocess
import tarfile
from dataclasses import replace
from hashlib import sha256

import pytest
import simplejpeg
import webdataset

from builder.decode.ffmpeg import find_ffmpeg
from builder.errors import BuilderError
from builder.shards.dataset import (
    ShardDataset,
    find_datasets,
    read_frames,
    read_offsets,
    stream_samples,
)
from builder.shards.format import ShardWriter, read_sample, shard_end
from builder.shards.manifest import DATASET_FILE, VIDEOS_FILE
from builder.shards.verify import verify
from builder.shards.video_row import BUILT, VideoRow, sample_json
from tests.drawn_motion import as_schema_2, uneven_times


def text_of(name: str, offsets=(0, 3, 5)) -> bytes:
    return sample_json(VideoRow(key=0, name=name, status=BUILT, width=8, height=8), offsets)


def test_stock_webdataset_reads_every_sample(dataset):
    read = {}
    for shard in dataset.manifest.shards:
        source = webdataset.WebDataset(str(dataset.folder / shard.name), shardshuffle=False)
        for item in source:
            meta = json.loads(item["json"])
            assert sha256(item["mjpg"]).hexdigest() == meta["sha256"]
            assert meta["frames"] == len(meta["offsets"]) - 1
            assert meta["offsets"][-1] == len(item["mjpg"])
            assert meta["splits"] == shard.splits
            assert int(item["__key__"]) >= 0
            read[meta["name"]] = meta
    assert {video.name for video in dataset.videos} == set(read)
    first = dataset.videos[0]
    keys = "name class label group splits fps width height frames offsets sha256 factors"
    assert list(read[first.name]) == keys.split()


def test_tar_lists_the_members(dataset):
    shard = dataset.manifest.shards[0]
    path = dataset.folder / shard.name
    out = subprocess.run(["tar", "tf", str(path)], capture_output=True, text=True, check=True)
    names = out.stdout.split()
    assert len(names) == 2 * shard.samples
    assert names[0].endswith(".json")
    assert names[1] == names[0].replace(".json", ".mjpg")


def test_ffmpeg_plays_a_member(dataset, tmp_path):
    shard = dataset.manifest.shards[0]
    with tarfile.open(dataset.folder / shard.name) as tar:
        meta, blob = (tar.extractfile(member).read() for member in tar.getmembers()[:2])
    path = tmp_path / "video.mjpg"
    path.write_bytes(blob)
    command = [find_ffmpeg(), "-hide_banner", "-i", str(path), "-f", "null", "-"]
    out = subprocess.run(command, capture_output=True, text=True, check=True)
    assert f"frame={json.loads(meta)['frames']:5d}" in out.stderr


def test_any_frame_is_read_without_tar(dataset):
    for video in dataset.videos:
        offsets = read_offsets(video)
        assert len(offsets) == video.frames + 1
        last, first = read_frames(video, offsets, [video.frames - 1, 0])
        with tarfile.open(video.shard) as tar:
            blob = tar.extractfile(f"{video.location.key:09d}.mjpg").read()
        assert last == blob[offsets[-2] :]
        assert first == blob[: offsets[1]]
        assert simplejpeg.decode_jpeg(last).shape == (video.height, video.width, 3)


def test_shard_bytes_depend_on_the_samples_alone(tmp_path):
    for name in ("a", "b"):
        writer = ShardWriter(tmp_path / f"{name}.tar")
        writer.add(7, text_of("x"), b"abcde")
        writer.add(9, text_of("y" * 200), b"abcde" * 300)
        writer.close()
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()


@pytest.mark.parametrize("size", [512, 9216, 9728, 10240])
def test_two_empty_blocks_and_no_more_than_a_record_of_padding_end_a_shard(size):
    end = shard_end(size)
    assert not any(end) and 1024 <= len(end) < 1024 + 10240
    assert (size + len(end)) % 10240 == 0


def test_a_shard_has_its_name_only_when_it_is_whole(tmp_path):
    writer = ShardWriter(tmp_path / "a.tar")
    writer.add(1, text_of("x"), b"abcde")
    assert not (tmp_path / "a.tar").exists()
    writer.discard()
    assert list(tmp_path.iterdir()) == []


def test_opening_what_is_no_data_set(tmp_path):
    with pytest.raises(BuilderError, match="No shards in"):
        ShardDataset(tmp_path)
    with pytest.raises(BuilderError, match="No shards in"):
        find_datasets(tmp_path)
    (tmp_path / DATASET_FILE).write_text('{"schema": 99}')
    with pytest.raises(BuilderError, match="schema 99, this ascnet reads 2"):
        ShardDataset(tmp_path)


@pytest.mark.parametrize("name", ["dataset.json", "videos.jsonl"])
def test_tables_that_are_no_json(dataset, tmp_path, name):
    shutil.copytree(dataset.folder, tmp_path / "copy")
    (tmp_path / "copy" / name).write_bytes(b'{"schema": 2, \xff')
    with pytest.raises(BuilderError, match=f"{name} was changed after it was built"):
        list(ShardDataset(tmp_path / "copy").rows())


def test_a_cut_shard_is_named(dataset, tmp_path):
    video = dataset.videos[0]
    short = tmp_path / "short.tar"
    short.write_bytes(video.shard.read_bytes()[: video.location.blob_start + 10])
    cut = type(video)(**{**video.__dict__, "shard": short})
    with pytest.raises(BuilderError, match=r"short.tar ends inside .*10 of \d+ bytes"):
        read_frames(cut, read_offsets(cut), [0])
    short.write_bytes(video.shard.read_bytes()[: video.location.json_start + 7])
    with pytest.raises(BuilderError, match=r"short.tar ends inside .*7 of \d+ bytes"):
        read_offsets(cut)


@pytest.mark.parametrize(
    "change",
    [
        lambda stated: {},
        lambda stated: [],
        lambda stated: stated | {"name": "another"},
        lambda stated: stated | {"offsets": None},
        lambda stated: stated | {"offsets": stated["offsets"][:3]},
        lambda stated: stated | {"offsets": [-9, *stated["offsets"][1:]]},
        lambda stated: stated | {"offsets": stated["offsets"][::-1]},
        lambda stated: stated | {"offsets": [2**70, *stated["offsets"][1:]]},
        lambda stated: stated | {"offsets": "12"},
    ],
)
def test_a_sample_that_was_changed_is_named(dataset, tmp_path, change):
    path, videos = a_shard(dataset)
    where, content = videos[1].location, bytearray(path.read_bytes())
    place = slice(where.json_start, where.json_start + where.json_bytes)
    text = json.dumps(change(json.loads(content[place])), separators=(",", ":")).encode()
    content[place] = text.ljust(where.json_bytes)[: where.json_bytes]
    (tmp_path / path.name).write_bytes(content)
    named = f"{path.name} (does not hold {videos[1].name} where|was changed after it was built)"
    with pytest.raises(BuilderError, match=named):
        read_offsets(replace(videos[1], shard=tmp_path / path.name))
    with pytest.raises(BuilderError, match=named):
        list(stream_samples(io.BytesIO(content).readinto, videos))


def a_shard(dataset):
    """The path of a shard and its videos, as they lie in it."""
    path = dataset.videos[0].shard
    own = [video for video in dataset.videos if video.shard == path]
    return path, sorted(own, key=lambda video: video.location.start)


@pytest.mark.parametrize("kept", [slice(None), slice(1, None), slice(0, None, 2), slice(0, 0)])
@pytest.mark.parametrize("most", [1 << 30, 700])  # bytes that a read gives
def test_a_shard_read_from_start_to_end(dataset, kept, most):
    path, videos = a_shard(dataset)
    with path.open("rb") as file:
        samples = stream_samples(lambda view: file.readinto(view[:most]), videos[kept])
        found = [(list(offsets), bytes(blob)) for offsets, blob in samples]
    assert len(found) == len(videos[kept])
    for video, (offsets, blob) in zip(videos[kept], found, strict=True):
        assert offsets == read_offsets(video).tolist()
        frames = range(video.frames)
        jpegs = [blob[offsets[i] : offsets[i + 1]] for i in frames]
        assert jpegs == read_frames(video, read_offsets(video), frames)
        assert len(blob) == video.location.blob_bytes


def test_a_sample_larger_than_the_buffer(tmp_path, dataset):
    writer = ShardWriter(tmp_path / "a.tar")
    blob = bytes(range(256)) * 9000
    for key, offsets in ((1, (0, 1)), (2, (0, 5, len(blob))), (3, (0, 1))):
        writer.add(key, text_of(f"v{key}", offsets), blob[: offsets[-1]])
    writer.close()
    videos = [
        replace(dataset.videos[0], name=f"v{where.key}", frames=frames, location=where)
        for where, frames in zip(writer.locations, (1, 2, 1), strict=True)
    ]
    with (tmp_path / "a.tar").open("rb") as file:
        found = [bytes(content) for _, content in stream_samples(file.readinto, videos)]
    assert found == [blob[:1], blob, blob[:1]]


def test_a_stream_that_is_not_the_shard_or_ends_early(dataset):
    path, videos = a_shard(dataset)
    content = path.read_bytes()
    second = videos[1].location

    def refused(content, message, videos=videos):
        with pytest.raises(BuilderError, match=message):
            list(stream_samples(io.BytesIO(content).readinto, videos))

    refused(content[: second.start + 100], rf"ends inside {videos[1].name}: 100 of \d+ bytes")
    refused(content[: second.blob_start + 100], f"ends inside {videos[1].name}: 100 of")
    refused(b"<html>" * len(content), f"{path.name} does not hold {videos[0].name} where")
    other = rf"does not hold {videos[1].name} where dataset.json says \(byte {second.start}\)"
    for place in (second.start, second.blob_start - 512):
        changed = bytearray(content)
        changed[place + 4] ^= 1  # a digit of the key
        refused(changed, other)
    refused(content, other, [videos[0], replace(videos[1], frames=3)])
    refused(content, "does not hold another", [replace(videos[0], name="another")])
    changed = bytearray(content)
    changed[second.json_start] = 0
    refused(changed, "was changed after it was built")


def test_find_datasets(dataset):
    assert find_datasets(dataset.folder) == [dataset.folder]
    assert find_datasets(dataset.folder.parent) == [dataset.folder]


def test_times_of_unevenly_spaced_frames(motion):
    rows = {row.name: row for row in motion.rows()}
    for video in motion.videos:
        text, _ = read_sample(video.shard, video.location)
        kind = video.name.removeprefix("uneven/").removesuffix(".avi")
        times = uneven_times().get(kind)
        assert video.times == times
        if times is None:
            assert rows[video.name].times is None and "times" not in json.loads(text)
        else:
            assert rows[video.name].times == list(times) == json.loads(text)["times"]
            assert len(times) == video.frames and times[0] == 0
            last = min(times[-1] - times[-2], 1 / video.fps)
            assert video.duration == times[-1] + last
            assert video.fps == rows[video.name].fps == (len(times) - 1) / times[-1]


def test_shards_of_schema_2_open(dataset, tmp_path):
    shutil.copytree(dataset.folder, tmp_path / "old")
    as_schema_2(tmp_path / "old")
    old = ShardDataset(tmp_path / "old")
    assert old.manifest.schema == 2 and next(old.rows()).times is None
    assert [replace(v, shard=dataset.folder / v.shard.name) for v in old.videos] == list(
        dataset.videos
    )
    assert not verify(old.folder, deep=True, workers=1).problems


def test_times_that_are_not_one_a_frame(motion, tmp_path):
    shutil.copytree(motion.folder, tmp_path / "copy")
    rows = [row.to_json() for row in motion.rows()]
    next(row for row in rows if row.get("times"))["times"].pop()
    (tmp_path / "copy" / VIDEOS_FILE).write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(BuilderError, match=r"uneven/\w+\.avi has \d+ frames and \d+ frame times"):
        _ = ShardDataset(tmp_path / "copy").videos
