import os
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from ascnet import embedding
from ascnet.embedding import (
    Listener,
    build_shards,
    catalog_of,
    embed,
    frame_settings,
    query_features,
    query_settings,
    shards_beside,
)
from ascnet.encoders import EncoderChoice, newest_store
from builder.decode.frames import FrameSettings
from builder.errors import BuilderError
from builder.shards.dataset import ShardDataset
from builder.shards.manifest import fingerprint
from evaluate.encoders import of_run
from evaluate.errors import EvaluateError
from evaluate.features.extract import Extraction
from evaluate.protocol import protocol_of
from tests.drawn_motion import as_schema_2

CPU = torch.device("cpu")


@pytest.fixture
def trained(finished_run):
    return of_run(finished_run)


FRAMES = FrameSettings(short_side=32)


def built(store: Path, videos: Path, frames=FRAMES, told=None, **how):
    """The shards of videos, where `ascnet embed` builds them."""
    place, catalog = shards_beside(store, catalog_of([videos]))
    return build_shards(catalog, place, frames, told or Listener(), **how)


def test_one_folder_is_read_as_build_reads_it_without_a_made_up_split(video_folder):
    catalog = catalog_of([video_folder])
    assert catalog.classes == ("bars", "test") and len(catalog.videos) == 16
    assert catalog.videos[0].name == "bars/v_bars_g01_c01.avi"
    assert all(video.splits == {} for video in catalog.videos)


def test_a_list_of_splits_counts(video_folder, tmp_path):
    (tmp_path / "v").symlink_to(video_folder / "bars")
    names = sorted(path.name for path in (tmp_path / "v").iterdir())
    folder = tmp_path / "root"
    folder.mkdir()
    for name in names:
        (folder / name).symlink_to(video_folder / "bars" / name)
    rows = [f"{name},{'test' if i % 2 else 'train'}" for i, name in enumerate(names)]
    (folder / "splits.csv").write_text("\n".join(["video,split", *rows]) + "\n")
    catalog = catalog_of([folder])
    assert {video.splits["1"] for video in catalog.videos} == {"train", "test"}


def test_a_list_of_groups_makes_no_split(tmp_path):
    for name in ("1.mp4", "2.mp4", "3.mp4"):
        (tmp_path / name).touch()
    (tmp_path / "splits.csv").write_text("video,group\n1.mp4,x\n3.mp4,x\n")
    videos = catalog_of([tmp_path]).videos
    assert [(v.group, v.splits) for v in videos] == [("x", {}), ("2.mp4", {}), ("x", {})]


def test_several_paths_are_unlabelled_and_named_below_what_holds_them(video_folder, tmp_path):
    one = video_folder / "test" / "v_test_g01_c01.avi"
    catalog = catalog_of([one, video_folder / "bars", video_folder / "bars" / ".." / "bars"])
    assert len(catalog.videos) == 9 and catalog.classes == ()
    assert catalog.videos[0].name == "bars/v_bars_g01_c01.avi"
    assert catalog.videos[-1].name == "test/v_test_g01_c01.avi"
    assert {video.class_name for video in catalog.videos} == {None}
    alone = catalog_of([one])
    assert (alone.videos[0].name, alone.dataset) == ("v_test_g01_c01.avi", "v_test_g01_c01")


def test_names_in_other_scripts_stay_different(video_folder, tmp_path):
    names = []
    for name in ("Видео", "Концерты", "Café", "plain"):
        (tmp_path / name).symlink_to(video_folder / "bars")
        names.append(
            catalog_of(
                [tmp_path / name / path.name for path in (tmp_path / name).iterdir()]
            ).dataset
        )
    assert len(set(names)) == 4 and names[3] == "plain"
    assert all(name.isascii() for name in names)
    assert names[0].startswith("videos-") and names[2].startswith("Caf-")


def test_what_is_not_there(tmp_path):
    with pytest.raises(BuilderError, match=r"There is no file or folder .*x\.mp4"):
        catalog_of([tmp_path / "x.mp4"])
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with pytest.raises(BuilderError, match="No video below"):
        catalog_of([tmp_path / "a"])
    with pytest.raises(BuilderError, match="no file there has a video suffix"):
        catalog_of([tmp_path / "a", tmp_path / "b"])


def test_frames_are_as_in_the_shards_of_the_run_and_large_enough(shards, tmp_path, trained):
    protocol = protocol_of(trained.settings)
    assert frame_settings([], protocol) == FrameSettings()
    assert frame_settings([tmp_path, shards], protocol).short_side == 32
    assert frame_settings([shards], replace(protocol, size=111)).short_side == 112
    assert frame_settings(["http://there/is/none", shards], protocol).short_side == 32


def gallery_of(shards):
    """What a query needs of a store with these shards."""
    own = {"dataset_sha256": fingerprint(shards)}
    return SimpleNamespace(path=shards.parent / "x.h5", shards=shards, attributes=own)


def test_a_query_has_frames_as_its_gallery(make_video, shards, tmp_path, trained, caplog):
    """However large the network's crop is: the gallery's frames are 32 pixels high."""
    protocol = replace(protocol_of(trained.settings), size=48)
    gallery = gallery_of(shards)
    assert query_settings(gallery, protocol) == FrameSettings(short_side=32)
    query = make_video(tmp_path / "q.mp4", frames=30, size="160x120")
    asked = query_features(query, gallery, trained.trained, protocol, CPU, tmp_path / "scratch")
    assert ShardDataset(asked.shards).videos[0].height == 32
    assert not caplog.records


def test_a_gallery_of_schema_2_is_said(shards, tmp_path, trained, caplog):
    shutil.copytree(shards, tmp_path / "old")
    as_schema_2(tmp_path / "old")
    gallery = gallery_of(tmp_path / "old")
    assert query_settings(gallery, protocol_of(trained.settings)).short_side == 32
    (record,) = caplog.records
    assert "have schema 2, and the query's have schema 3" in record.getMessage()


def test_every_setting_of_the_gallerys_frames_counts(video_folder, tmp_path, trained, caplog):
    frames = FrameSettings(short_side=40, jpeg_quality=7, chroma="444", fps=12.5, shots=True)
    build_shards(catalog_of([video_folder]), tmp_path / "s", frames, Listener())
    gallery = gallery_of(tmp_path / "s")
    assert query_settings(gallery, protocol_of(trained.settings)) == frames
    assert not caplog.records
    anew = replace(frames, short_side=44)
    build_shards(catalog_of([video_folder]), tmp_path / "s", anew, Listener(), overwrite=True)
    assert query_settings(gallery, protocol_of(trained.settings)) == anew
    (record,) = caplog.records
    assert f"x.h5 were rebuilt ({tmp_path}/s), so the settings" in record.getMessage()
    said = "made with those of the new shards: short side 44 pixels, quality 7, chroma 444, 12.5"
    assert said in record.getMessage()


def test_shards_that_are_gone_are_said(tmp_path, trained, caplog):
    gallery = SimpleNamespace(path=tmp_path / "x.h5", shards=tmp_path / "gone", attributes={})
    protocol = replace(protocol_of(trained.settings), size=224)
    assert query_settings(gallery, protocol) == FrameSettings(short_side=224)
    (record,) = caplog.records
    said = record.getMessage()
    assert f"the shards of {tmp_path}/x.h5 are missing ({tmp_path}/gone)" in said
    assert "with the defaults: short side 224 pixels, quality 3, chroma 420, every frame." in said
    assert "\n" not in said


def test_unreadable_videos_are_counted_and_the_rest_goes_on(make_video, tmp_path, trained):
    folder = tmp_path / "videos"
    make_video(folder / "a.mp4", frames=60)
    make_video(folder / "b.mp4", frames=5)
    (folder / "c.mp4").write_text("no video\n")
    (folder / "d.mp4").touch()
    store, said = tmp_path / "x.h5", []
    protocol = replace(protocol_of(trained.settings), every=0.5)
    told = Listener(videos=said.append)
    dataset = built(store, folder, frame_settings([], protocol), told)
    assert "4 expected, 2 built, 2 failed: empty file 1, not a video 1" in said[0]
    assert "failed: c.mp4 (not a video), d.mp4 (empty file)" in said[0]
    found = embed(Extraction(trained.trained, protocol, dataset, CPU), store, Listener())
    assert found.names == ["a.mp4", "b.mp4"]
    assert found.clip_video.tolist() == [0] * 5 + [1]  # about every half second of 2.4 s
    assert found.shards == tmp_path / "x.shards"
    before = store.stat().st_mtime_ns
    embed(Extraction(trained.trained, protocol, dataset, CPU), store, Listener())
    assert store.stat().st_mtime_ns == before


def test_an_error_of_a_retry_takes_no_shards_away(make_video, tmp_path, monkeypatch):
    """Only shards of other videos or frames are replaced."""
    folder = tmp_path / "videos"
    make_video(folder / "a.mp4", frames=5)
    (folder / "b.mp4").write_text("no video")
    store = tmp_path / "x.h5"
    before = content_of(built(store, folder).folder)

    def full(*_, **__):
        raise BuilderError("Cannot write: No space left on device.")

    with monkeypatch.context() as patch, pytest.raises(BuilderError, match="No space left"):
        patch.setattr("builder.build.build.retry_failed", full)
        built(store, folder, overwrite=True)
    assert built(store, folder).counts["built"] == 1
    assert content_of(tmp_path / "x.shards") == before
    (tmp_path / "x.shards" / "videos.jsonl").write_text("damaged")
    with pytest.raises(BuilderError, match=r"videos\.jsonl was changed"):
        built(store, folder)
    assert built(store, folder, overwrite=True).counts["built"] == 1
    other = replace(FRAMES, short_side=40)
    assert built(store, folder, other, overwrite=True).videos[0].height == 40


def content_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_stopped_and_given_again_it_goes_on(video_folder, tmp_path, trained):
    class StopError(Exception):
        pass

    def stop(done: int, total: int, text: str) -> None:
        raise StopError

    protocol = replace(protocol_of(trained.settings), every=0.3)
    store = tmp_path / "x.h5"
    with pytest.raises(StopError):
        built(store, video_folder, told=Listener(building=stop))
    dataset = built(store, video_folder)
    with pytest.raises(StopError):
        embed(Extraction(trained.trained, protocol, dataset, CPU), store, Listener(features=stop))
    assert not store.exists()
    steps = []
    said = Listener(features=lambda done, total, text: steps.append(done))
    found = embed(Extraction(trained.trained, protocol, dataset, CPU), store, said)
    assert steps == [16]  # the first eight were there
    fresh = embed(
        Extraction(trained.trained, protocol, dataset, CPU), tmp_path / "y.h5", Listener()
    )
    assert (found.clip_features == fresh.clip_features).all()


def test_other_videos_are_refused_unless_overwritten(make_video, tmp_path):
    make_video(tmp_path / "v" / "a.mp4")
    words = (tmp_path / "x.h5", tmp_path / "v")
    built(*words)
    make_video(tmp_path / "v" / "b.mp4")
    (tmp_path / "v" / "c.mp4").write_text("none yet")
    with pytest.raises(BuilderError, match="was built of other source videos"):
        built(*words)
    assert built(*words, overwrite=True).counts["built"] == 2
    make_video(tmp_path / "v" / "c.mp4")
    assert built(*words).counts["built"] == 2
    assert built(*words, overwrite=True).counts["built"] == 3


def test_none_left_is_said_and_leaves_room_for_others(make_video, tmp_path):
    (tmp_path / "a.mp4").write_text("no video\n")
    store = tmp_path / "x.h5"
    with pytest.raises(BuilderError, match=r"None of the videos can be read: a\.mp4 \(not a vi"):
        built(store, tmp_path / "a.mp4")
    assert built(store, make_video(tmp_path / "b.mp4")).counts["built"] == 1


def test_an_unknown_frame_rate_is_said_before_anything_is_computed(
    shards, tmp_path, trained, monkeypatch
):
    dataset = ShardDataset(shards)
    videos = tuple(replace(v, fps=None) if i == 3 else v for i, v in enumerate(dataset.videos))
    monkeypatch.setitem(dataset.__dict__, "videos", videos)
    protocol = replace(protocol_of(trained.settings), every=1.0)
    with pytest.raises(
        EvaluateError, match=r"1 of 16 videos have no known .* --every 0 for 5 .* --shards "
    ):
        embed(Extraction(trained.trained, protocol, dataset, CPU), tmp_path / "x.h5", Listener())
    evenly = protocol_of(trained.settings)
    assert (
        len(
            embed(
                Extraction(trained.trained, evenly, dataset, CPU), tmp_path / "x.h5", Listener()
            ).names
        )
        == 16
    )


def test_a_query_of_an_unknown_rate_is_cut_evenly(make_video, tmp_path, trained, monkeypatch):
    real = embedding.build_shards

    def without_rate(*words, **more):
        dataset = real(*words, **more)
        unknown = tuple(replace(video, fps=None) for video in dataset.videos)
        dataset.__dict__["videos"] = unknown
        return dataset

    query = make_video(tmp_path / "q.mp4", frames=100)
    gallery = SimpleNamespace(path=tmp_path / "x.h5", shards=tmp_path / "gone", attributes={})
    words = (query, gallery, trained.trained, replace(protocol_of(trained.settings), every=0.5))
    assert len(query_features(*words, CPU, tmp_path / "a").clip_video) == 8
    monkeypatch.setattr(embedding, "build_shards", without_rate)
    assert len(query_features(*words, CPU, tmp_path / "b").clip_video) == 5


def test_strange_names(make_video, tmp_path, trained):
    strange = ["<b>&\"'.mp4", os.fsdecode(b"\xff\xfe.mp4"), "a\nb\x1b[31m.mp4", "漢字 ü.mp4"]
    plain = make_video(tmp_path / "plain.mp4")
    for name in strange:
        (tmp_path / "v").mkdir(exist_ok=True)
        (tmp_path / "v" / name).write_bytes(plain.read_bytes())
    store = tmp_path / "x.h5"
    dataset = built(store, tmp_path / "v")
    protocol = replace(protocol_of(trained.settings), every=1.0)
    found = embed(Extraction(trained.trained, protocol, dataset, CPU), store, Listener())
    assert set(found.names) == {strange[0], "\\udcff\\udcfe.mp4", *strange[2:]}
    assert embedding._dataset_name(os.fsdecode(b"\xff")) == "udcff"
    assert embedding._dataset_name("漢字").startswith("videos-")


def test_a_run_without_a_store(tmp_path):
    with pytest.raises(EvaluateError, match="no finished store"):
        newest_store(EncoderChoice(tmp_path))
