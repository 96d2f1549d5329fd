import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import simplejpeg
import torch

import ascnet
from builder.errors import BuilderError
from builder.shards.dataset import read_frames, read_offsets
from evaluate.errors import EvaluateError
from trainer.data.augment import square_crop
from trainer.data.packed_clips import PackedClips
from trainer.errors import TrainerError
from trainer.weights.export import export


@pytest.fixture(scope="module")
def opened(shards):
    return ascnet.open_shards(shards)


def test_importing_is_instant():
    code = (
        "import ascnet, sys\n"
        "assert not {'torch', 'numpy', 'h5py', 'PIL', 'builder', 'trainer'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_python_api_needs_no_commands():
    code = (
        "import ascnet.embedding, ascnet.encoders, ascnet.shards, sys\n"
        "found = [name for name in sys.modules if name.startswith('ascnet.commands')]\n"
        "assert not found and 'click' not in sys.modules, found\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_shards_are_a_sequence(opened, shards):
    assert len(opened) == 16 == len(list(opened))
    assert opened[0] is opened.videos[0] and opened[-1] is opened[15]
    assert opened["test/v_test_g01_c01.avi"].class_name == "test"
    assert opened.classes == ["bars", "test"] and opened.name == "folder"
    assert {video.name for video in opened.subset("1", "test")} < {video.name for video in opened}
    assert ascnet.open_shards(str(shards))[3] == opened[3]
    assert opened[1:3] == (opened[1], opened[2]) and opened[::-8] == (opened[15], opened[7])
    assert opened[16:] == ()


@pytest.mark.parametrize("wrong", [16, -17, 10**9])
def test_no_such_position(opened, wrong):
    with pytest.raises(BuilderError, match=f"There is no video {wrong}: .* has 16, numbered from"):
        opened[wrong]
    with pytest.raises(IndexError):
        opened.clip(wrong)


def test_no_such_name(opened):
    with pytest.raises(
        BuilderError, match=r"no built video 'x\.avi'\. An example of a name is 'bar"
    ):
        opened["x.avi"]


def picture(video, frame: int) -> np.ndarray:
    jpeg = read_frames(video, read_offsets(video), [frame])[0]
    return simplejpeg.decode_jpeg(jpeg, fastdct=True, fastupsample=True)


def test_a_clip_is_these_frames(opened):
    video = opened["test/v_test_g04_c01.avi"]
    clip = opened.clip(video, start=3, frames=4, stride=5)
    assert clip.dtype == torch.uint8
    assert clip.shape == (4, video.height, video.width, 3) == (4, 32, 42, 3)
    for own, frame in zip(clip.numpy(), (3, 8, 13, 18), strict=True):
        assert (own == picture(video, frame)).all()
        assert (own != picture(video, frame + 1)).any()
    for way in (opened.clip(video.name, 3, 4, 5), opened.clip(list(opened).index(video), 3, 4, 5)):
        assert torch.equal(way, clip)
    assert opened.clip(video).shape[0] == 16


def test_what_a_clip_does_that_runs_past_the_end(opened):
    video = opened["test/v_test_g01_c01.avi"]
    assert video.frames == 17
    whole = opened.clip(video, frames=17)
    assert not torch.equal(whole[0], whole[16])
    assert torch.equal(opened.clip(video, 15, 4), whole[[15, 16, 0, 1]])
    stays = opened.clip(video, 15, 4, short_videos="repeat_last")
    assert torch.equal(stays, whole[[15, 16, 16, 16]])
    with pytest.raises(BuilderError, match=r"from frame 15 on needs frame 18, and test/.* has 17"):
        opened.clip(video, 15, 4, short_videos="error")
    assert len(opened.clip(video, 0, 17, short_videos="error")) == 17


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"start": -1}, "start is -1; .* has the frames 0 to 4"),
        ({"start": 5}, "start is 5; .* has the frames 0 to 4"),
        ({"frames": 0}, "frames is 0; it takes a whole number, 1 or more"),
        ({"stride": -2}, "stride is -2; it takes a whole number, 1 or more"),
        ({"stride": 1.5}, "stride is 1.5; it takes a whole number, 1 or more"),
        ({"short_videos": "cut"}, "short_videos is 'cut'; it takes 'loop', 'repeat_last', 'error'"),
    ],
)
def test_what_is_no_clip(opened, wrong, words):
    with pytest.raises(BuilderError, match=words):
        opened.clip("bars/v_bars_g01_c01.avi", **wrong)


def test_clips_from_many_threads(shards):
    opened = ascnet.open_shards(shards)
    jobs = [(video, start) for video in range(1, 16) for start in range(6)] * 4
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda job: opened.clip(job[0], job[1], 4), jobs))
    assert all(torch.equal(own, opened.clip(*job, 4)) for own, job in zip(found, jobs, strict=True))


def test_what_is_opened_says_what_it_is(opened):
    assert repr(opened) == f"<Shards {opened.folder}: 16 videos>"


def test_no_shards(tmp_path):
    with pytest.raises(ascnet.AscnetError, match="No shards in"):
        ascnet.open_shards(tmp_path)


def test_a_backbone_of_a_run_and_of_files(finished_run, opened, tmp_path):
    backbone = ascnet.load_backbone(str(finished_run))
    assert not backbone.training
    clip = opened.clip(3, frames=4)
    crop = square_crop(PackedClips.of(clip[None]), 16)
    with torch.inference_mode():
        features = backbone(crop)
    assert features.shape[:2] == (1, backbone.channels) and features.dtype == torch.float32
    export(finished_run, "safetensors", tmp_path / "w.safetensors")
    torch.save(backbone.state_dict(), tmp_path / "w.pth")
    for file, name in (("w.safetensors", None), ("w.pth", "r3d-tiny"), ("w.pth", None)):
        other = ascnet.load_backbone(tmp_path / file, name)
        assert not other.training
        with torch.inference_mode():
            assert torch.equal(other(crop), features)
    assert ascnet.load_backbone(finished_run, "r3d-tiny")


def test_no_backbone(finished_run, shards, tmp_path):
    with pytest.raises(TrainerError, match=r"There is no run or file .*nope"):
        ascnet.load_backbone(tmp_path / "nope")
    with pytest.raises(TrainerError, match="is not a run directory"):
        ascnet.load_backbone(shards)
    with pytest.raises(TrainerError, match="is a run of r3d-tiny, not of r3d18"):
        ascnet.load_backbone(finished_run, "r3d18")
    (tmp_path / "x.pth").write_text("no weights")
    with pytest.raises(TrainerError, match=r"x\.pth"):
        ascnet.load_backbone(tmp_path / "x.pth", "r3d-tiny")
    export(finished_run, "safetensors", tmp_path / "w.safetensors")
    with pytest.raises(TrainerError, match="fits"):
        ascnet.load_backbone(tmp_path / "w.safetensors", "r3d18")


def test_no_features(tmp_path):
    with pytest.raises(EvaluateError, match=r"There is no feature store .*x\.h5"):
        ascnet.open_features(tmp_path / "x.h5")


def test_a_clip_of_a_shard_that_is_gone(shards, tmp_path):
    """Or that may not be read, or is a folder."""
    shutil.copytree(shards, tmp_path / "x")
    opened = ascnet.open_shards(tmp_path / "x")
    assert opened.clip(0).shape[0] == 16
    gone = opened[0].shard
    gone.unlink()
    said = rf"^{re.escape(str(gone))}, which contains .*{opened[0].name}, cannot be read \(No such"
    with pytest.raises(BuilderError, match=said):
        opened.clip(0)
    gone.mkdir()
    with pytest.raises(BuilderError, match=r"cannot be read \(Is a directory\)\. Copy it"):
        opened.clip(opened[0].name)
    with pytest.raises(BuilderError, match=r"`ascnet verify .*x` lists everything that is missing"):
        opened.clip(opened[0])
