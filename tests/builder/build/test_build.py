import hashlib
import json
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from builder.build.build import BuildSettings, How, build
from builder.build.records import begin, clear, identity_of
from builder.catalog import folder
from builder.catalog.source import Catalog, Source
from builder.decode.engine import transcode
from builder.decode.frames import FrameSettings
from builder.errors import BuilderError
from builder.shards.dataset import ShardDataset
from builder.shards.format import read_sample
from builder.shards.manifest import DATASET_FILE
from builder.shards.verify import verify
from tests.builder.decode.decoded import ffmpeg
from tests.drawn_motion import as_schema_2

SETTINGS = BuildSettings(FrameSettings(short_side=32), videos_per_shard=4)


def content(path: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in path.rglob("*") if p.is_file()}


def test_every_video_is_accounted_for(video_folder, make_video, tmp_path):
    root = tmp_path / "videos"
    shutil.copytree(video_folder, root)
    (root / "bars" / "empty.avi").write_bytes(b"")
    (root / "bars" / "page.avi").write_bytes(b"<html>" * 100)
    (root / "notes.txt").write_text("not a video")
    summary = build(folder.read(root), tmp_path / "out", SETTINGS, How(workers=2))
    assert summary.sentence() == "18 expected, 16 built, 2 failed: empty file 1, not a video 1"
    assert [name for name, _ in summary.left_alone] == ["notes.txt"]
    rows = list(ShardDataset(tmp_path / "out").rows())
    assert [row.key for row in rows] == [*range(18), None]
    assert (rows[-1].name, rows[-1].status) == ("notes.txt", "ignored")
    reasons = {row.name: row.reason for row in rows if row.status == "failed"}
    assert reasons == {"bars/empty.avi": "empty file", "bars/page.avi": "not a video"}


def test_dataset_json(dataset, video_folder):
    counts = dataset.counts
    assert dataset.classes == ["bars", "test"]
    assert counts["expected"] == counts["built"] == 16
    assert counts["frames"] == sum(video.frames for video in dataset.videos)
    assert counts["bytes"] == sum(p.stat().st_size for p in dataset.folder.glob("*.tar"))
    assert len(dataset.subset("1", "train")) + len(dataset.subset("1", "test")) == 16
    assert not (dataset.folder / ".build").exists()


def test_twice_the_same_bytes_whatever_the_workers(dataset, video_folder, tmp_path):
    build(folder.read(video_folder), tmp_path / "out", SETTINGS, How(workers=1))
    assert content(tmp_path / "out") == content(dataset.folder)


def test_cuts_are_stored_where_they_are_asked_for(dataset, make_video, tmp_path):
    for i, pattern in enumerate(("testsrc", "smptebars")):
        make_video(tmp_path / f"{i}.avi", frames=12, pattern=pattern)
    joined = tmp_path / "videos" / "a" / "v.avi"
    joined.parent.mkdir(parents=True)
    two = f"-i {tmp_path / '1.avi'} -filter_complex [0][1]concat -c:v mpeg4 -q:v 2"
    ffmpeg("-i", tmp_path / "0.avi", *two.split(), joined)
    catalog, shots = folder.read(joined.parent.parent), replace(SETTINGS.frames, shots=True)
    build(catalog, tmp_path / "out", replace(SETTINGS, frames=shots), How())
    made = ShardDataset(tmp_path / "out")
    (video,), (row,) = made.videos, made.rows()
    text, _ = read_sample(video.shard, video.location)
    assert video.cuts == (12,) and row.cuts == json.loads(text)["cuts"] == [12]
    assert made.manifest.settings["shots"] is True
    assert not verify(made.folder, deep=False, workers=1).problems
    with pytest.raises(BuilderError, match="was built with --shots, and now without"):
        build(catalog, tmp_path / "out", SETTINGS, How())
    assert "shots" not in dataset.manifest.settings
    assert all(plain.cuts is None and "cuts" not in plain.to_json() for plain in dataset.rows())
    assert all(plain.cuts == () for plain in dataset.videos)


def test_a_finished_build_is_left_alone(video_folder, tmp_path):
    catalog = folder.read(video_folder)
    assert build(catalog, tmp_path / "out", SETTINGS, How(workers=2)).done_now == 16
    before = content(tmp_path / "out")
    assert build(catalog, tmp_path / "out", SETTINGS, How(workers=2)).done_now == 0
    assert content(tmp_path / "out") == before


def test_changed_settings_are_refused_by_name(video_folder, tmp_path):
    catalog = folder.read(video_folder)
    build(catalog, tmp_path / "out", SETTINGS, How(workers=2))
    other = BuildSettings(FrameSettings(short_side=48), videos_per_shard=4)
    with pytest.raises(BuilderError, match="short_side = 32, and now it is 48"):
        build(catalog, tmp_path / "out", other, How(workers=2))
    fewer = Catalog("folder", catalog.root, catalog.videos[1:], catalog.classes)
    first = catalog.videos[0]
    with pytest.raises(BuilderError, match=f"of other source videos .1 gone: {first.name}.\\. "):
        build(fewer, tmp_path / "out", SETTINGS, How(workers=2))
    left = replace(catalog, videos=catalog.videos[1:], left_alone=((first.name, "why"), ("b", "c")))
    build(left, tmp_path / "left", SETTINGS, How(workers=2))
    with pytest.raises(BuilderError, match=f"of other source videos .1 new: {first.name}.\\. "):
        build(catalog, tmp_path / "left", SETTINGS, How(workers=2))
    elsewhere = replace(catalog, videos=(replace(first, group="x"), *catalog.videos[1:]))
    with pytest.raises(BuilderError, match="classes, groups or splits have changed"):
        build(elsewhere, tmp_path / "out", SETTINGS, How(workers=2))
    (tmp_path / "out" / "mine.tar").write_text("not a shard of ours")
    build(catalog, tmp_path / "out", other, How(workers=2, overwrite=True))
    assert (tmp_path / "out" / "mine.tar").exists()
    assert ShardDataset(tmp_path / "out").videos[0].height == 48


def test_shards_of_schema_2_are_not_gone_on_with(video_folder, tmp_path):
    catalog, out = folder.read(video_folder), tmp_path / "out"
    build(catalog, out, SETTINGS, How(workers=2))
    as_schema_2(out)
    said = "by another ascnet, in schema 2 of the format; this one reads it, but writes 3"
    for how in (How(workers=2), How(workers=2, retry_failed=True)):
        with pytest.raises(BuilderError, match=said):
            build(catalog, out, SETTINGS, how)
    (out / DATASET_FILE).unlink()  # as if it had been stopped
    (out / ".build").mkdir(exist_ok=True)
    identity = identity_of(catalog, SETTINGS.frames, SETTINGS.videos_per_shard) | {"schema": 2}
    (out / ".build" / "identity.json").write_text(json.dumps(identity))
    with pytest.raises(BuilderError, match=said):
        build(catalog, out, SETTINGS, How(workers=2))
    build(catalog, out, SETTINGS, How(workers=2, overwrite=True))
    assert ShardDataset(out).manifest.schema == 3


def test_two_builders_on_one_folder(video_folder, tmp_path):
    catalog = folder.read(video_folder)
    seen = []

    def build_again(done: int, total: int, text: str) -> None:
        if not seen:
            with pytest.raises(BuilderError, match="Another process is writing to") as caught:
                build(catalog, tmp_path / "out", SETTINGS, How(workers=1))
            seen.append(caught.value)

    build(catalog, tmp_path / "out", SETTINGS, How(workers=1), build_again)
    assert seen


def test_a_folder_that_cannot_be_written(video_folder, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BuilderError, match="Cannot write"):
        build(folder.read(video_folder), tmp_path / "file" / "out", SETTINGS, How(workers=1))


def test_only_failures(tmp_path):
    root = tmp_path / "videos"
    root.mkdir()
    (root / "a.avi").write_bytes(b"")
    summary = build(folder.read(root), tmp_path / "out", SETTINGS, How(workers=1))
    assert summary.sentence() == "1 expected, 0 built, 1 failed: empty file 1"
    assert ShardDataset(tmp_path / "out").videos == ()
    assert json.loads((tmp_path / "out" / "dataset.json").read_text())["shards"] == []


def test_ranges_then_finish(video_folder, dataset, tmp_path):
    catalog, out = folder.read(video_folder), tmp_path / "out"
    part = build(catalog, out, SETTINGS, How(shards=slice(0, 2)))
    assert (part.counts, part.sentence()) == (None, "2 of 4 shards are built")
    with pytest.raises(BuilderError, match=r"2 of 4 shards are not built, the first is number 2"):
        build(catalog, out, SETTINGS, How(finish_only=True))
    with pytest.raises(BuilderError, match="short_side = 32, and now it is 48"):
        other = BuildSettings(FrameSettings(short_side=48), videos_per_shard=4)
        build(catalog, out, other, How(shards=slice(2, None)))
    assert build(catalog, out, SETTINGS, How(shards=slice(1, 9))).done_now < 16
    assert not (out / "dataset.json").exists()
    assert build(catalog, out, SETTINGS, How(finish_only=True)).done_now == 0
    assert content(out) == content(dataset.folder)


def test_several_ranges_at_the_same_time_but_nothing_else(video_folder, dataset, tmp_path):
    catalog, out, seen = folder.read(video_folder), tmp_path / "out", []

    def build_others(done: int, total: int, text: str) -> None:
        if not seen:
            seen.append(build(catalog, out, SETTINGS, How(shards=slice(0, 3))).shards_built)
            with pytest.raises(BuilderError, match="Another process is writing"):
                build(catalog, out, SETTINGS, How())

    build(catalog, out, SETTINGS, How(shards=slice(2, 4)), build_others)
    assert seen
    build(catalog, out, SETTINGS, How(finish_only=True))
    assert content(out) == content(dataset.folder)


def test_too_many_failures_stop_the_build(tmp_path, make_video):
    root = tmp_path / "videos"
    make_video(root / "good.avi", frames=3)
    for i in range(4):
        (root / f"bad{i}.avi").write_bytes(b"")
    build(folder.read(root), tmp_path / "all", SETTINGS, How(max_failures=4))
    with pytest.raises(BuilderError, match=r"4 videos have failed.*--max-failures 3.*empty file 4"):
        build(folder.read(root), tmp_path / "few", SETTINGS, How(max_failures=3))


def test_a_source_that_has_changed(video_folder, tmp_path):
    root = tmp_path / "videos"
    shutil.copytree(video_folder, root)
    build(folder.read(root), tmp_path / "out", SETTINGS, How(workers=2))
    video = root / "test" / "v_test_g01_c01.avi"
    video.write_bytes(video.read_bytes() + b"x")
    with pytest.raises(BuilderError, match=r"v_test_g01_c01.avi had \d+ bytes, and now it has"):
        build(folder.read(root), tmp_path / "out", SETTINGS, How(workers=2))


def test_rows_tell_all_of_a_video(dataset, video_folder):
    row = next(dataset.rows())
    source = video_folder / row.name
    assert row.source_bytes == source.stat().st_size
    assert row.source_sha256 == hashlib.sha256(source.read_bytes()).hexdigest()
    assert (row.fps, row.source_fps, row.source_nominal_fps) == (25.0, 25.0, 25.0)
    assert row.source_duration == row.frames / 25
    assert (row.status, row.reason, row.warnings) == ("built", None, [])


def test_resampled_frames_have_the_rate_they_were_resampled_to(make_video, tmp_path):
    make_video(tmp_path / "in" / "a.avi", frames=25)
    settings = BuildSettings(FrameSettings(short_side=32, fps=5))
    build(folder.read(tmp_path / "in"), tmp_path / "out", settings, How())
    (video,) = ShardDataset(tmp_path / "out").videos
    assert (video.frames, video.fps) == (5, 5.0)
    assert next(ShardDataset(tmp_path / "out").rows()).source_fps == 25.0


def test_ranges_that_begin_at_the_same_moment_agree(tmp_path):
    barrier = threading.Barrier(2)

    def begin_with(side: int) -> str:
        barrier.wait()
        try:
            begin(tmp_path, {"short_side": side}, alone=False)
        except BuilderError as error:
            return str(error)
        return ""

    for _ in range(20):
        shutil.rmtree(tmp_path / ".build", ignore_errors=True)
        with ThreadPoolExecutor(2) as pool:
            said = list(pool.map(begin_with, (32, 48)))
        assert sum("was built with short_side" in text for text in said) == 1


def test_a_shard_that_is_gone_or_another_is_built_anew(video_folder, dataset, tmp_path):
    catalog, out = folder.read(video_folder), tmp_path / "out"
    build(catalog, out, SETTINGS, How(shards=slice(None)))
    first, second = sorted(out.glob("*.tar"))[:2]
    first.unlink()
    second.write_bytes(second.read_bytes() + b"x")
    assert 0 < build(catalog, out, SETTINGS, How(workers=2)).done_now < 16
    assert content(out) == content(dataset.folder)


def test_a_refused_build_leaves_a_finished_data_set_as_it_was(video_folder, tmp_path):
    """A shard is gone (its disk is not mounted), and a source file has changed, too."""
    root, out = tmp_path / "videos", tmp_path / "out"
    shutil.copytree(video_folder, root)
    build(folder.read(root), out, SETTINGS, How(workers=2))
    shard = min(out.glob("*.tar"))
    shard.rename(tmp_path / "away.tar")
    before = content(out)
    source = max(root.rglob("*.avi"))
    source.write_bytes(source.read_bytes() + b"x")
    with pytest.raises(BuilderError, match="was built when"):
        build(folder.read(root), out, SETTINGS, How())
    assert content(out) == before
    (tmp_path / "away.tar").rename(shard)
    assert len(ShardDataset(out).videos) == 16


def test_a_killed_overwrite_leaves_no_records_alone(video_folder, tmp_path, monkeypatch):
    """Whatever of `.build` is deleted first, a record never outlives the identity of its build."""
    out = tmp_path / "out"
    build(folder.read(video_folder), out, SETTINGS, How(shards=slice(None)))
    notes, left = out / ".build", []
    unlink = Path.unlink

    def noting(path, *more, **others):
        unlink(path, *more, **others)
        names = {p.name for p in notes.glob("*.json")}
        left.append("identity.json" in names or not names)

    monkeypatch.setattr(Path, "unlink", noting)
    clear(out, "folder")
    assert len(left) > 4 and all(left) and not notes.exists()


def test_a_row_that_nothing_could_read_is_a_failure(video_folder, dataset, tmp_path, monkeypatch):
    """Or else the record of its shard would stop every later build."""

    def odd(path, *more):
        frames = transcode(path, *more)
        return replace(frames, fps=0.0) if "g02_c01" in path.name else frames

    monkeypatch.setattr("builder.build.job.transcode", odd)
    out = tmp_path / "out"
    build(folder.read(video_folder), out, SETTINGS, How(shards=slice(None)))
    summary = build(folder.read(video_folder), out, SETTINGS, How(finish_only=True))
    assert summary.sentence() == "16 expected, 14 built, 2 failed: decoder failed 2"
    details = [row.detail for row in ShardDataset(out).rows() if row.status == "failed"]
    assert all("impossible row: fps is 0.0" in str(detail) for detail in details)


def test_a_damaged_record_is_named(video_folder, dataset, tmp_path):
    out = tmp_path / "out"
    build(folder.read(video_folder), out, SETTINGS, How(shards=slice(None)))
    record = out / ".build" / "000001.json"
    record.write_bytes(record.read_bytes()[:-9])
    with pytest.raises(BuilderError, match=r"000001\.json is not what a build writes"):
        build(folder.read(video_folder), out, SETTINGS, How())
    record.unlink()
    assert build(folder.read(video_folder), out, SETTINGS, How(workers=2)).done_now > 0
    assert content(out) == content(dataset.folder)


def test_labels_in_another_order_are_another_build(tmp_path):
    """Numbers were once sorted as text; other builds keep the identity that they had."""

    def videos_of(*classes: str) -> Catalog:
        videos = tuple(Source(f"{c}/1.mp4", tmp_path, c, c, {}) for c in sorted(classes))
        return Catalog("folder", tmp_path, videos, classes)

    def identity(catalog: Catalog) -> str:
        return identity_of(catalog, FrameSettings(), 1)["videos_sha256"]

    assert identity(videos_of("9", "10")) != identity(videos_of("10", "9"))
    assert identity(videos_of("b", "a")) == identity(videos_of("a", "b"))
    assert identity(videos_of("1", "2")) == identity(replace(videos_of("1", "2"), remarks=("x",)))
