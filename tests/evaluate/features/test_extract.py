import re
import shutil
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import simplejpeg
import torch

from builder.errors import BuilderError
from builder.shards.dataset import ShardDataset, read_frames, read_offsets
from evaluate.disk_errors import UnavailableError
from evaluate.encoders import of_run
from evaluate.errors import EvaluateError
from evaluate.features import encode
from evaluate.features import extract as module
from evaluate.features.extract import Extraction, extract
from evaluate.features.store import Features, unfinished
from evaluate.identity_check import all_machines
from evaluate.protocol import protocol_of
from tests.drawn_motion import seconds_of
from tests.evaluate.stores import content, held
from tests.trainer.data.streaming.test_retrying import serve
from tests.trainer.ranks import run_together
from trainer.data.streaming.in_order import storage_order
from trainer.distributed import together
from trainer.errors import TrainerError
from trainer.run.provenance import computed_on

CPU = torch.device("cpu")


@pytest.fixture
def extraction(finished_run, tiny, dataset) -> Extraction:
    return Extraction(of_run(finished_run).trained, protocol_of(tiny), dataset, CPU)


@pytest.fixture
def other(extraction, finished_run) -> Extraction:
    """Of another encoder."""
    return replace(extraction, subject=of_run(finished_run).untrained)


def test_extract_once(extraction, tmp_path):
    path = tmp_path / "x.h5"
    seen = []
    assert extract(path, extraction, lambda *step: seen.append(step))
    assert seen == [(8, 16, "trained"), (16, 16, "trained")]
    features = Features(path)
    assert features.features.shape == (16, 128) and features.clip_features.shape == (80, 128)
    assert features.attributes == extraction.identity | computed_on(CPU)
    known = {"clips": 5, "crops": 1, "layer": "last", "pooling": "average", "backbone": "r3d-tiny"}
    assert known.items() <= features.attributes.items()
    assert len(features.attributes["checkpoint_sha256"]) == 64
    assert '"expected": 16' in features.attributes["dataset_counts"]
    short = next(i for i, v in enumerate(extraction.dataset.videos) if v.frames == 5)
    assert features.clip_frames[5 * short].tolist() == [0, 4]  # a clip that starts over
    means = features.clip_features.reshape(16, 5, 128).mean(axis=1)
    assert np.allclose(features.features, means, atol=1e-6)
    assert not extract(path, extraction)


def test_another_encoder_is_refused_unless_overwritten(extraction, other, tmp_path):
    path = tmp_path / "x.h5"
    extract(path, extraction)
    with pytest.raises(EvaluateError, match=r"was made with weights of SHA-256 [0-9a-f]{30}"):
        extract(path, other)
    assert extract(path, other, overwrite=True)
    assert not extract(path, other, overwrite=True)
    path.write_bytes(b"damaged")
    with pytest.raises(EvaluateError, match="is damaged"):
        extract(path, other)
    assert extract(path, other, overwrite=True)


@pytest.mark.parametrize("is_finished", [True, False])
def test_a_store_in_use_is_never_replaced(extraction, other, tmp_path, is_finished):
    """Nor what lies beside it, though it is of another encoder."""
    path = tmp_path / "x.h5"
    extract(path, extraction)
    shutil.copy(path, unfinished(path))
    before = path.read_bytes()
    one = path if is_finished else unfinished(path)
    with held(one), pytest.raises(UnavailableError, match="is in use: "):
        extract(path, other, overwrite=True)
    assert path.read_bytes() == unfinished(path).read_bytes() == before
    assert extract(path, other, overwrite=True)


def test_a_store_of_another_checksum_is_made_anew(extraction, tmp_path):
    path = tmp_path / "x.h5"
    extract(path, extraction)
    for name in ("features", "clip_features"):
        with h5py.File(path, "r+") as file:
            file[name][3] = 7
        with pytest.raises(EvaluateError, match="changed or damaged"):
            _ = Features(path).clip_features
        assert extract(path, extraction, overwrite=True)
        assert not (Features(path).clip_features == 7).all(axis=1).any()


def test_a_resumed_extraction_gives_the_same_features(extraction, tmp_path):
    class StopError(Exception):
        pass

    def stop(done: int, total: int, text: str) -> None:
        raise StopError

    with pytest.raises(StopError):
        extract(tmp_path / "x.h5", extraction, stop)
    assert not (tmp_path / "x.h5").exists() and unfinished(tmp_path / "x.h5").exists()
    seen = []
    extract(tmp_path / "x.h5", extraction, lambda *step: seen.append(step[0]))
    assert seen == [16]
    extract(tmp_path / "y.h5", extraction)
    x, y = Features(tmp_path / "x.h5"), Features(tmp_path / "y.h5")
    assert (x.features == y.features).all() and (x.clip_features == y.clip_features).all()
    assert (x.clip_frames == y.clip_frames).all() and x.attributes == y.attributes


def test_what_computed_the_features_is_recorded_and_not_compared(extraction, tmp_path, monkeypatch):
    """A store of a server is used on a laptop, and one that it did not finish is finished there."""

    def stop(done: int, total: int, text: str) -> None:
        raise KeyboardInterrupt

    server = {"device": "cuda", "torch": "2.99"}
    monkeypatch.setattr(module, "computed_on", lambda device: server)
    extract(tmp_path / "x.h5", extraction)
    with pytest.raises(KeyboardInterrupt):
        extract(tmp_path / "y.h5", extraction, stop)
    monkeypatch.undo()
    assert not extract(tmp_path / "x.h5", extraction)
    assert not extract(tmp_path / "x.h5", extraction, overwrite=True)
    extract(tmp_path / "y.h5", extraction)
    one, both = Features(tmp_path / "x.h5"), Features(tmp_path / "y.h5")
    assert (one.clip_features == both.clip_features).all()
    assert server.items() <= one.attributes.items()
    assert both.attributes["device"] == "cuda, cpu"
    assert both.attributes["torch"] == f"2.99, {torch.__version__}"
    assert one.attributes.keys() == both.attributes.keys()
    now = {"device": "cpu, cuda", "torch": "2.14"}
    assert all_machines(both.attributes, now)["device"] == "cuda, cpu"
    assert all_machines({}, now) == now


def fill_stores(run: Path, shards: Path, folder: Path) -> None:
    """What each of two processes does; prints what came of each store."""
    encode.UNIT = module.UNIT = 2

    def fill(name: str, extraction: Extraction) -> None:
        seen = []
        try:
            is_new = extract(folder / name, extraction, lambda *step: seen.append(step[0]))
            print(name, is_new, seen)
        except EvaluateError as error:
            print(name, error)

    with together("cpu") as (rank, device):
        subjects = of_run(run)
        protocol = replace(protocol_of(subjects.settings), every=0.2)
        ours = Extraction(subjects.trained, protocol, ShardDataset(shards), device)
        other = replace(ours, subject=subjects.untrained)
        fill("new.h5", ours)
        fill("begun.h5", ours)
        fill("begun.h5", ours)
        fill("begun.h5", other)
        fill("mixed.h5", other if rank.number else ours)
        source = f"pipe:echo {{}} >> {folder}/{rank.number}.txt; cat {shards}/{{}}"
        fill("streamed.h5", replace(ours, dataset=ShardDataset(shards, source)))
        if rank.number:
            next(ours.subject.backbone.parameters()).data.fill_(torch.nan)
        fill("spoilt.h5", ours)


def test_two_processes_fill_one_store_as_one_does(
    extraction, finished_run, shards, tmp_path, monkeypatch
):
    """A new one and one that a single process began, of videos with several numbers of clips; and
    what is wrong on one of the two is said on both."""
    for at in (encode, module):
        monkeypatch.setattr(at, "UNIT", 2)
    alone = replace(extraction, protocol=replace(extraction.protocol, every=0.2))
    extract(tmp_path / "alone.h5", alone)

    def stop(done: int, total: int, text: str) -> None:
        if done == 6:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        extract(tmp_path / "begun.h5", alone, stop)
    paths = (finished_run, shards, tmp_path)
    first, second = map(str.splitlines, run_together(2, fill_stores, *paths, cwd=tmp_path))
    assert first[:3] == [
        "new.h5 True [2, 4, 6, 8, 10, 12, 14, 16]",
        "begun.h5 True [8, 10, 12, 14, 16]",
        "begun.h5 False []",
    ]
    assert second[:3] == ["new.h5 True []", "begun.h5 True []", "begun.h5 False []"]
    assert (first[3:5], first[6:]) == (second[3:5], second[6:])
    assert "was made with weights of SHA-256" in first[3]
    assert "Process 1 of 2 would compute other features than process 0: weights" in first[4]
    assert first[5] == "streamed.h5 True [2, 4, 6, 8, 10, 12, 14, 16]"
    assert re.search("The features of .*, clip 1 of .* are NaN", first[6]) and len(first) == 7
    asked = [(tmp_path / f"{rank}.txt").read_text().split() for rank in range(2)]
    # Each shard is read by one of the two.
    assert [*asked[0], *asked[1]] == [f"folder-00000{i}.tar" for i in range(4)]
    for name in ("new", "begun"):
        assert content(tmp_path / f"{name}.h5") == content(tmp_path / "alone.h5")
    assert is_same(tmp_path / "streamed.h5", tmp_path / "alone.h5")
    assert not (tmp_path / "mixed.h5").exists() and not (tmp_path / "spoilt.h5").exists()


@pytest.fixture
def server(shards, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with serve(shards) as running_server:
        yield running_server


def is_same(streamed: Path, local: Path) -> bool:
    """But for where the shards were."""
    one, other = content(streamed), content(local)
    return one.pop("shards") != other.pop("shards") and one == other


def test_streamed_shards_give_the_same_store(extraction, server, shards, tmp_path):
    """Each is read once, though a connection breaks off; of a store that goes on, those whose
    videos are all there are not asked for."""

    def stop(done: int, total: int, text: str) -> None:
        raise InterruptedError

    extract(tmp_path / "local.h5", extraction)
    streamed = replace(extraction, dataset=ShardDataset(shards, f"{server.url}?token=x"))
    server.cuts = [50_000]
    extract(tmp_path / "x.h5", streamed)
    names = sorted(f"{path.name}?token=x" for path in shards.glob("*.tar"))
    assert server.asked == [names[0], *names]
    assert is_same(tmp_path / "x.h5", tmp_path / "local.h5")
    assert Features(tmp_path / "x.h5").shards is None
    assert Features(tmp_path / "x.h5").place == server.url  # nothing secret
    assert not extract(tmp_path / "x.h5", streamed)

    with pytest.raises(InterruptedError):
        extract(tmp_path / "y.h5", streamed, stop)
    server.asked.clear()
    extract(tmp_path / "y.h5", streamed)
    assert server.asked == names[2:]
    assert is_same(tmp_path / "y.h5", tmp_path / "local.h5")


def test_a_shard_that_is_gone_costs_what_was_not_read(extraction, shards, tmp_path, monkeypatch):
    for at in (encode, module):
        monkeypatch.setattr(at, "UNIT", 2)
    source = f"pipe:case {{}} in *3.tar) exit 127;; esac; cat {shards}/{{}}"
    with pytest.raises(TrainerError, match=r"folder-000003\.tar.* ended with exit status 127"):
        extract(tmp_path / "x.h5", replace(extraction, dataset=ShardDataset(shards, source)))
    seen = []
    extract(tmp_path / "x.h5", extraction, lambda *step: seen.append(step[0]))
    extract(tmp_path / "local.h5", extraction)
    assert seen[0] > 2 and is_same(tmp_path / "x.h5", tmp_path / "local.h5")


def test_two_evaluations_at_once(extraction, tmp_path):
    seen = []

    def extract_again(done: int, total: int, text: str) -> None:
        with pytest.raises(BuilderError, match="Another process is writing to") as caught:
            extract(tmp_path / "x.h5", extraction)
        seen.append(caught.value)

    extract(tmp_path / "x.h5", extraction, extract_again)
    assert seen


@pytest.mark.parametrize("fps", [0.0, 12.5])
def test_time_codes_are_those_of_the_frames(extraction, motion, tmp_path, fps):
    """Of videos of known motion, whose pictures say when they were taken."""
    changes = {"fps": fps, "every": 0.5, "short_videos": "repeat_last"}
    protocol = replace(extraction.protocol, **changes)
    extract(tmp_path / "x.h5", replace(extraction, protocol=protocol, dataset=motion))
    features = Features(tmp_path / "x.h5")
    for clip, (first, last) in enumerate(features.clip_frames.tolist()):
        video = motion.videos[features.clip_video[clip]]
        jpegs = read_frames(video, read_offsets(video), range(video.frames))
        taken = seconds_of(np.stack([simplejpeg.decode_jpeg(jpeg) for jpeg in jpegs]))
        begin, end = features.seconds(clip)
        assert begin == pytest.approx(taken[first], abs=0.003)
        wanted = taken[last + 1] if last + 1 < video.frames else video.duration
        assert end == pytest.approx(wanted, abs=0.003)
    assert features.duration.tolist() == [video.duration for video in motion.videos]


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_network_that_gives_no_numbers_is_refused(extraction, tmp_path, overwrite):
    with torch.no_grad():
        next(extraction.subject.backbone.parameters()).fill_(torch.nan)
    videos = extraction.dataset.videos
    name = re.escape(videos[storage_order(videos)[0]].name)
    with pytest.raises(EvaluateError, match=rf"features of {name}, clip 1 of 5 \(frames .* NaN"):
        extract(tmp_path / "x.h5", extraction, overwrite=overwrite)
    assert not (tmp_path / "x.h5").exists()
