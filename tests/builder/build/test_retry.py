import json
import shutil

import pytest

from builder.build.build import BuildSettings, How, build
from builder.catalog import folder
from builder.decode.engine import transcode
from builder.decode.frames import FrameSettings
from builder.errors import BuilderError
from builder.shards.dataset import ShardDataset
from builder.shards.verify import verify

SETTINGS = BuildSettings(FrameSettings(short_side=32), videos_per_shard=4)
AGAIN = How(workers=2, retry_failed=True)


def content(path):
    return {p.name: p.read_bytes() for p in path.iterdir()}


@pytest.fixture
def spoilt(video_folder, tmp_path):
    """Videos of which two are broken, and what they should be."""
    root = tmp_path / "videos"
    shutil.copytree(video_folder, root)
    names = ["bars/v_bars_g02_c01.avi", "test/v_test_g03_c02.avi"]
    good = {name: (root / name).read_bytes() for name in names}
    for name in names:
        (root / name).write_bytes(b"<html>" * 50)
    return root, good


def test_mended_videos_are_built_and_the_rest_is_copied(spoilt, dataset, tmp_path, monkeypatch):
    root, good = spoilt
    out = tmp_path / "out"
    first = build(folder.read(root), out, SETTINGS, How(workers=2))
    assert first.sentence() == "16 expected, 14 built, 2 failed: not a video 2"
    for name, video in good.items():
        (root / name).write_bytes(video)
    plain = build(folder.read(root), out, SETTINGS, How(workers=2))
    assert (plain.done_now, plain.changed) == (0, 2)
    decoded = []
    monkeypatch.setattr("builder.build.job.transcode", _noting(decoded))
    again = build(folder.read(root), out, SETTINGS, AGAIN)
    assert (again.sentence(), again.changed) == ("16 expected, 16 built, 0 failed", 0)
    assert sorted(decoded) == sorted(good)
    assert content(out) == content(dataset.folder)


def test_a_shard_that_is_gone_or_cut_is_built_again(video_folder, dataset, tmp_path, monkeypatch):
    root, out = video_folder, tmp_path / "out"
    build(folder.read(root), out, SETTINGS, How(workers=2))
    whole = content(out)
    shards = sorted(out.glob("*.tar"))
    for spoil in (lambda path: path.unlink(), lambda path: path.write_bytes(b"half")):
        spoil(shards[1])
        decoded = []
        with monkeypatch.context() as patch:
            patch.setattr("builder.build.job.transcode", _noting(decoded))
            again = build(folder.read(root), out, SETTINGS, How(workers=1))
        assert content(out) == whole and len(decoded) == again.done_now == 4
    assert build(folder.read(root), out, SETTINGS, How(workers=1)).done_now == 0


def _noting(decoded):
    def transcode_and_note(path, *rest):
        decoded.append("/".join(path.parts[-2:]))
        return transcode(path, *rest)

    return transcode_and_note


def test_still_failed(spoilt, tmp_path):
    root, good = spoilt
    out = tmp_path / "out"
    build(folder.read(root), out, SETTINGS, How(workers=2))
    before = content(out)
    assert build(folder.read(root), out, SETTINGS, AGAIN).done_now == 2
    assert content(out) == before
    (root / next(iter(good))).write_bytes(b"")
    build(folder.read(root), out, SETTINGS, AGAIN)
    assert ShardDataset(out).counts["failed"] == {"empty file": 1, "not a video": 1}
    assert verify(out, True, 1).problems == ()


def test_in_an_unfinished_build(spoilt, dataset, tmp_path):
    root, good = spoilt
    out = tmp_path / "out"
    with pytest.raises(BuilderError, match="more than --max-failures 1 allows"):
        build(folder.read(root), out, SETTINGS, How(workers=1, max_failures=1))
    for name, video in good.items():
        (root / name).write_bytes(video)
    assert build(folder.read(root), out, SETTINGS, AGAIN).counts["failed"] == {}
    assert content(out) == content(dataset.folder)


@pytest.mark.parametrize("stop_at", [1, 2])
def test_cut_short(spoilt, dataset, tmp_path, stop_at):
    root, good = spoilt
    out = tmp_path / "out"
    build(folder.read(root), out, SETTINGS, How(workers=2))
    for name, video in good.items():
        (root / name).write_bytes(video)

    def stop(done, total, text):
        if done == stop_at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(folder.read(root), out, SETTINGS, AGAIN, stop)
    build(folder.read(root), out, SETTINGS, AGAIN)
    assert content(out) == content(dataset.folder)


def test_cut_short_while_a_shard_is_written(spoilt, dataset, tmp_path, monkeypatch):
    root, good = spoilt
    out = tmp_path / "out"
    build(folder.read(root), out, SETTINGS, How(workers=2))
    for name, video in good.items():
        (root / name).write_bytes(video)

    def fail(path, content):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("builder.build.assemble.save_record", fail)
        with pytest.raises(BuilderError, match="No space left"):
            build(folder.read(root), out, SETTINGS, AGAIN)
    build(folder.read(root), out, SETTINGS, How(workers=2))  # builds that shard from nothing
    assert verify(out, True, 1).problems == ()
    build(folder.read(root), out, SETTINGS, AGAIN)
    assert content(out) == content(dataset.folder)


def test_a_damaged_shard_is_not_copied(spoilt, tmp_path):
    root, good = spoilt
    out = tmp_path / "out"
    build(folder.read(root), out, SETTINGS, How(workers=2))
    name = next(iter(good))
    (root / name).write_bytes(good[name])
    for video in ShardDataset(out).videos:
        spoil = bytearray(video.shard.read_bytes())
        spoil[video.location.blob_start + 50] ^= 1
        video.shard.write_bytes(spoil)
    with pytest.raises(BuilderError, match="is not what was built"):
        build(folder.read(root), out, SETTINGS, AGAIN)


def test_videos_that_were_missing(video_folder, dataset, tmp_path):
    root = tmp_path / "videos"
    shutil.copytree(video_folder, root)
    rows = ["video,split"]
    for row in dataset.rows():
        rows.append(f"{row.name},{row.splits['1']}")
    (root / "splits.csv").write_text("\n".join(rows) + "\n")
    gone = root / "bars" / "v_bars_g04_c02.avi"
    gone.rename(tmp_path / "gone.avi")
    out = tmp_path / "out"
    build(folder.read(root), out, SETTINGS, How(workers=2))
    assert ShardDataset(out).counts["failed"] == {"missing": 1}
    (tmp_path / "gone.avi").rename(gone)
    assert build(folder.read(root), out, SETTINGS, How(workers=2)).changed == 1
    build(folder.read(root), out, SETTINGS, AGAIN)
    assert json.loads((out / "dataset.json").read_text())["counts"]["failed"] == {}
    assert {k: v for k, v in content(out).items() if k.endswith(".tar")} == {
        k: v for k, v in content(dataset.folder).items() if k.endswith(".tar")
    }


def test_many_shards_with_the_pyav_engine(spoilt, tmp_path):
    root, good = spoilt
    settings = BuildSettings(FrameSettings(short_side=32, engine="pyav"), videos_per_shard=1)
    build(folder.read(root), tmp_path / "out", settings, How(workers=2))
    for name, video in good.items():
        (root / name).write_bytes(video)
    summary = build(folder.read(root), tmp_path / "out", settings, AGAIN)
    assert summary.sentence() == "16 expected, 16 built, 0 failed"


def test_a_damaged_json_is_not_copied(spoilt, dataset, tmp_path):
    root, good = spoilt
    out = tmp_path / "out"
    build(folder.read(root), out, SETTINGS, How(workers=2))
    for video in ShardDataset(out).videos:
        content = video.shard.read_bytes()
        video.shard.write_bytes(content.replace(b'"fps":25.0', b'"fps":52.0'))
    for name, video in good.items():
        (root / name).write_bytes(video)
    build(folder.read(root), out, SETTINGS, AGAIN)
    mended = {row.shard for row in ShardDataset(out).rows() if row.name in good}
    for shard in mended:
        assert (out / shard).read_bytes() == (dataset.folder / shard).read_bytes()
