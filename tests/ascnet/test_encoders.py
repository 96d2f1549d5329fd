import json
import os
import re
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from ascnet.encoders import EncoderChoice, newest_store, protocol_in
from evaluate.errors import EvaluateError
from evaluate.features.store import Features
from evaluate.pages.report import write_report
from evaluate.protocol import Protocol
from tests.commands import refused, run_ascnet
from tests.evaluate.stores import random_store, store_of, video


def keras(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["layer/kernel"] = np.ones(3)


def older_schema(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["features"] = np.ones((2, 2))
        file["done"] = np.ones(2, np.uint8)


def features_of_others(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["features"] = np.ones((2, 2))


@pytest.mark.parametrize("turned", [False, True])
def test_a_store_says_how_its_clips_were_taken(tmp_path: Path, turned: bool) -> None:
    protocol = Protocol(clips=2, turned=turned)
    facts = protocol.identity | {"recipe": "demo"}
    store = store_of(tmp_path / "x.h5", [video("a", 2)], [np.ones((2, 3))])
    store.attributes |= facts
    assert protocol_in(store) == protocol
    del store.attributes["mirrored"]
    with pytest.raises(EvaluateError, match="does not record its mirrored, so no video"):
        protocol_in(store)


@pytest.mark.parametrize(
    ("foreign", "said"),
    [
        (keras, "is an HDF5 file, but not a feature store of ascnet."),
        (features_of_others, "is an HDF5 file, but not a feature store of ascnet."),
        (older_schema, "is a feature store of schema 1; this version of ascnet reads"),
        (lambda path: path.write_text("no HDF5"), "is not a feature store, as it is no HDF5 file."),
        (lambda path: path.write_bytes(b""), "is not a feature store, as it is no HDF5 file."),
    ],
)
def test_a_newer_file_that_is_no_store_is_left_aside_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, foreign, said: str
) -> None:
    folder = tmp_path / "features"
    folder.mkdir()
    foreign(folder / "foreign.h5")
    with pytest.raises(EvaluateError, match=r"has no finished store .*foreign\.h5 is ") as caught:
        newest_store(EncoderChoice(tmp_path))
    assert said in str(caught.value)
    store = random_store(folder / "ours.h5", [2, 3], 4).path
    os.utime(folder / "foreign.h5", ns=(store.stat().st_mtime_ns + 10**9,) * 2)
    assert newest_store(EncoderChoice(tmp_path)) == store
    assert caplog.messages[0].startswith(f"Skipped: {folder / 'foreign.h5'} {said}")
    caplog.clear()
    os.utime(folder / "foreign.h5", ns=(0, 0))  # an older one does not matter
    assert newest_store(EncoderChoice(tmp_path)) == store
    assert not caplog.messages


OWN = """
import torch
from torch import nn
import ascnet

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.frame = nn.Conv2d(3, 6, 5, 2)

    def forward(self, clips):
        frames = clips.transpose(1, 2)
        maps = self.frame(frames.flatten(0, 1)).relu()
        return maps.mean((2, 3)).unflatten(0, frames.shape[:2])

def net():
    return ascnet.Encoder(Net(), frames=4, size=16, stride=2, gives="tokens", untrained=Net())

def alone():
    return ascnet.Encoder(Net(), frames=4, size=16, gives="tokens")

def nan():
    net = Net()
    nn.init.constant_(net.frame.bias, float("inf"))
    return ascnet.Encoder(net, frames=4, size=16, gives="tokens")

def without_gradients():
    net = Net()
    net.forward = torch.no_grad()(net.forward)
    return ascnet.Encoder(net, frames=4, size=16, gives="tokens")

def logits():
    return ascnet.Encoder(Net(), frames=4, size=16)
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A folder with nets.py, which describes encoders."""
    (tmp_path / "nets.py").write_text(OWN)
    return tmp_path


def evaluate(own: Path, shards: Path, name: str, *words: object) -> str:
    words = ("--encoder", f"nets.py:{name}", "--shards", shards, "--clips", 2, *words)
    done = run_ascnet("evaluate", *words, cwd=own)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_encoder_of_ones_own_goes_through_the_protocols(own: Path, shards: Path) -> None:
    quick = ("--set", "classifier.epochs=1", "--set", "classifier.batch=4")
    text = evaluate(own, shards, "net", "--task", "all", *quick)
    for title in ("Retrieval", "Linear probe", "k nearest neighbours vote", "Fine-tuning"):
        assert f"{title} on folder, split 1 (%)" in text
    assert "nets.py:net, recipe encoder, seed 0, step 0; untrained: as given by the encoder" in text
    assert "2 clips x 4 frames, stride 2, centre crop 16" in text
    assert "Caution: pretraining data unknown; it may include test videos." in text
    folder = own / "runs" / "encoder-nets-net"
    store = Features(folder / "features" / "folder-trained_clips-2.h5")
    assert store.attributes["output"] == "tokens" and store.features.shape == (16, 6)
    (path,) = (folder / "results").glob("retrieval-*.json")
    assert json.loads(path.read_text())["trained_on"]["encoder"] == f"{own / 'nets.py'}:net"
    shutil.rmtree(folder / "features")
    page = write_report(folder).read_text()  # says how to make them again
    assert f"ascnet evaluate --task retrieval --encoder {own / 'nets.py'}:net" in page


def test_on_augmented_clips_and_without_a_baseline(own: Path, shards: Path) -> None:
    quick = ("--set", "classifier.epochs=1", "--set", "classifier.batch=4")
    text = evaluate(own, shards, "alone", "--task", "linear", "--on-the-fly", *quick)
    assert "Linear probe on augmented clips" in text and "untrained" not in text
    words = ("--task", "linear", "--on-the-fly", "--head", "attentive", *quick)
    text = evaluate(own, shards, "alone", *words)
    assert "Attentive probe on augmented clips" in text and "with recipe attentive" in text


def test_a_changed_encoder_is_refused_by_name(own: Path, shards: Path) -> None:
    evaluate(own, shards, "alone", "--task", "knn")
    (own / "nets.py").write_text(OWN + "# changed")
    words = ("evaluate", "--encoder", "nets.py:alone", "--shards", shards, "--clips", 2)
    assert "source_sha256 " in refused(*words, cwd=own)
    evaluate(own, shards, "alone", "--task", "knn", "--overwrite")


def test_embed_and_search_with_it(own: Path, shards: Path, video_folder: Path) -> None:
    done = run_ascnet("embed", "--shards", shards, "--encoder", "nets.py:net", cwd=own)
    said = r"  ascnet search QUERY\.mp4 --store (\S+) --encoder nets\.py:net$"
    search = re.search(said, done.stdout, re.MULTILINE)
    assert search, done
    query = video_folder / "test" / "v_test_g02_c01.avi"
    words = ("search", query, "--encoder", "nets.py:net")
    for store in ((), ("--store", search[1])):
        found = run_ascnet(*words, *store, cwd=own).stdout
        assert found.splitlines()[1].split()[:2] == ["1", "1.000"], found
    said = refused("search", query, "--encoder", "nets.py:alone", "--store", search[1], cwd=own)
    assert "(--run, --weights, --encoder)" in said
    (own / "nets.py").write_text(OWN + "# changed")
    assert "was made with source_sha256 " in refused(*words, cwd=own)
    assert run_ascnet("near-duplicates", search[1], cwd=own).returncode == 0


@pytest.mark.parametrize(
    ("name", "task", "said"),
    [
        ("nan", "retrieval", "are infinite or too large"),
        ("logits", "retrieval", "nets.py:logits gives float32 1 x 4 x 6 for 1 clip; as its"),
        ("without_gradients", "finetune", "without gradients, so it cannot be fine-tuned: remove"),
        ("other", "knn", "has no function other: its functions are net, alone, nan, without_gr"),
    ],
)
def test_what_cannot_be_evaluated(own: Path, shards: Path, name: str, task: str, said: str) -> None:
    words = ("--encoder", f"nets.py:{name}", "--shards", shards, "--task", task)
    assert said in refused("evaluate", *words, cwd=own)


def test_one_encoder_is_named(own: Path) -> None:
    said = refused("evaluate", "--encoder", "nets.py:net", "--run", "x", cwd=own)
    assert "Name one encoder: a run (--run), a file of weights (--weights) or you" in said
    said = refused("evaluate", "--encoder", "nets.py:net", "--recipe", "demo", cwd=own)
    assert "--backbone and --recipe go with --weights" in said


def test_a_model_of_hugging_face(tmp_path: Path, shards: Path, video_folder: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="ascnet[hf] is not installed")
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.Dinov2Config(image_size=32, patch_size=16, mlp_ratio=2, **small)
    transformers.Dinov2Model(config).save_pretrained(tmp_path / "net")
    said = {"size": 36, "crop_size": 32, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    (tmp_path / "net" / "preprocessor_config.json").write_text(json.dumps(said))
    words = ("--encoder", "hf:net", "--shards", shards)
    quick = ("--clips", 2, "--set", "classifier.epochs=1", "--set", "classifier.batch=4")
    done = run_ascnet("evaluate", *words, "--task", "finetune", *quick, cwd=tmp_path)
    assert "Fine-tuning on folder, split 1 (%)" in done.stdout, done.stderr
    assert "untrained: random initialisation" in done.stdout
    assert "2 clips x 8 frames, stride 1 at 4 fps, centre crop 36" in done.stdout
    assert run_ascnet("embed", *words, cwd=tmp_path).returncode == 0
    query = video_folder / "test" / "v_test_g02_c01.avi"
    found = run_ascnet("search", query, *words[:2], cwd=tmp_path).stdout
    assert found.splitlines()[1].split()[:2] == ["1", "1.000"], found
