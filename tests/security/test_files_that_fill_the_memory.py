"""Small files from somebody else that would fill the memory, never end, or say what cannot be: one
sentence each, and no more memory than their bytes."""

import io
import json
import pickle
import shutil
import tracemalloc
import zipfile
from collections import OrderedDict
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import torch
from torch._utils import _rebuild_meta_tensor_no_storage, _rebuild_tensor_v2

from evaluate.errors import EvaluateError
from evaluate.features import layout, store
from evaluate.features.store import Features, is_complete, unfinished
from evaluate.finetune.checkpoint import Kept
from evaluate.pages import curves, results
from tests.commands import run_ascnet
from tests.evaluate.stores import random_store, store_of, video
from trainer.errors import TrainerError
from trainer.run import checkpoint, torch_archive, trained_videos
from trainer.weights.read import read_tensors

DEEP = "[" * 200_000
BIG = 1 << 30
TEXT = h5py.string_dtype("utf-8")


@pytest.fixture
def path(tmp_path):
    random_store(tmp_path / "x.h5", (2, 1, 1, 1), 4)
    return tmp_path / "x.h5"


def signed(file):
    file.attrs["sha256"] = store.checksum(file)
    file.attrs["clips_sha256"] = store.clips_checksum(file)


def replaced(file, name, **how):
    del file[name]
    return file.create_dataset(name, **how)


def fill_values(file):
    for name in ("features", "clip_features"):
        replaced(file, name, shape=(BIG // 4, 4), dtype="f4", chunks=(1 << 20, 4))
    replaced(file, "clip_video", shape=(BIG // 4,), dtype="i4")


def a_list(file):
    file.attrs.create("list", np.zeros(4))


def many_attributes(file):
    for i in range(1001):
        file.attrs[str(i)] = 1


def unequal(file):
    replaced(file, "label", data=np.zeros(3, np.int64))


def other_type(file):
    replaced(file, "label", data=np.zeros(4))


def of_characters(file):
    replaced(file, "name", data=np.array([b"a"] * 4))


def set_to(name, value):
    def change(file):
        file[name][...] = value

    return change


def with_seconds(value):
    def change(file):
        file["clip_seconds"] = np.array([value] * 5, np.float64)

    return change


WRONG = {
    "its clip_features has 0 bytes for": fill_values,
    "its attribute list is neither": a_list,
    "it has 10.. attributes": many_attributes,
    r"label has the shape \(3,\)": unequal,
    "label has the type float64": other_type,
    "name has the type": of_characters,
    "clips belong to videos": set_to("clip_video", -1),
    "clips belong to videos that": set_to("clip_video", 4),
    "its clips belong to videos that": set_to("clip_video", [0, 2**31 - 1, -(2**31), 2, 3]),
    "clips belong to videos that it does not": set_to("clip_video", [0, 3, 1, 2, 3]),
    "first and last frames are invalid": set_to("clip_frames", -1),
    "its first and last frames are": set_to("clip_frames", [5, 4]),
    "its first and last frames are invalid": set_to("clip_frames", 2**31 - 1),
    "numbers of frames are invalid": set_to("frames", 0),
    "its numbers of frames are invalid": set_to("frames", -(2**63)),
    "labels are invalid": set_to("label", -2),
    "rates are invalid": set_to("fps", 0),
    "frame rates are invalid": set_to("fps", np.inf),
    "its frame rates are invalid": set_to("fps", -1),
    "times are invalid": with_seconds([np.nan, 1]),
    "its times are invalid": with_seconds([2, 1]),
    "its times are": with_seconds([0, np.inf]),
}


@pytest.mark.parametrize(("said", "change"), WRONG.items())
def test_a_store_that_says_what_cannot_be(said, change, path):
    with h5py.File(path, "r+") as file:
        change(file)
        if change not in (fill_values, a_list):
            signed(file)
    tracemalloc.start()
    try:
        with pytest.raises(EvaluateError, match=f"x.h5 is refused: .*{said}"):
            Features(path)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_many_texts_that_are_one(path):
    """Every row says where its text lies, and may say where another one does."""
    with h5py.File(path, "r+") as file:
        texts = replaced(file, "name", data=["x" * (1 << 20)] * 4, dtype=TEXT)
        names, classes = texts.id.get_offset(), file["class"].id.get_offset()
    content = path.read_bytes()
    path.write_bytes(content[:classes] + content[names : names + 64] + content[classes + 64 :])
    with h5py.File(path, "r+") as file:
        assert len(file["class"][3]) == 1 << 20
        signed(file)
    with pytest.raises(EvaluateError, match=r"claims \d+ bytes, and the file has \d+"):
        Features(path)


def test_attributes_that_are_larger_than_the_file(path, monkeypatch):
    """As where several say where one long text lies."""
    with h5py.File(path, "r+") as file:
        for i in range(8):
            file.attrs.create(f"long{i}", "x" * 30_000, dtype=TEXT)
    with h5py.File(path) as file:
        assert len(layout.attributes(file, path)["long7"]) == 30_000
        monkeypatch.setattr(layout.os, "fstat", lambda _: SimpleNamespace(st_size=100_000))
        with pytest.raises(EvaluateError, match="attributes claim more than the 100000"):
            layout.attributes(file, path)


def test_counts_that_are_nested(path):
    with h5py.File(path, "r+") as file:
        file.attrs.create("dataset_counts", DEEP[:30_000], dtype=TEXT)
        signed(file)
    with pytest.raises(EvaluateError, match="was changed or damaged"):
        _ = Features(path).counts


def test_an_unfinished_store_of_other_videos(path):
    other = path.with_name("y.h5")
    shutil.copy(path, unfinished(other))
    assert is_complete(path, {"encoder": "trained"})
    with pytest.raises(EvaluateError, match="does not have these 2 videos and 2 clips with 4"):
        store_of(other, [video("a", 1), video("b", 1)], [np.ones((1, 4))] * 2)


class Stored:
    """What stands for the numbers of a tensor in a pickle."""

    def __init__(self, numbers):
        self.numbers = numbers


class Called:
    """What a pickle calls."""

    def __init__(self, function, *arguments):
        self.how = (function, arguments)

    def __reduce__(self):
        return self.how


def tensor(numbers, start, shape, steps):
    stored = Stored(numbers)
    return Called(_rebuild_tensor_v2, stored, start, shape, steps, False, OrderedDict())


class Writer(pickle._Pickler):
    def persistent_id(self, item):
        if isinstance(item, Stored):
            return ("storage", torch.FloatStorage, "0", "cpu", item.numbers)
        return None


def torch_file(path, state, packing=zipfile.ZIP_STORED, numbers=b"\0" * 16):
    text = io.BytesIO()
    Writer(text, 2).dump(state)
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", packing) as parts:
        for name, content in (
            ("data.pkl", text.getvalue()),
            ("byteorder", "little"),
            ("version", "3\n"),
            ("data/0", numbers),
        ):
            parts.writestr(f"a/{name}", content)
    return path


FORGED = {
    "numbers that are not there": tensor(1 << 20, 0, (1 << 20,), (1,)),
    "larger than its numbers": tensor(4, 0, (1 << 28,), (1,)),
    "beyond its numbers": tensor(4, 1000, (4,), (1,)),
    "before its numbers": tensor(4, -8, (4,), (1,)),
    "backwards": tensor(4, 0, (4,), (-1,)),
    "one number many times": tensor(4, 0, (1 << 33,), (0,)),
    "no numbers": Called(_rebuild_meta_tensor_no_storage, torch.float32, (1 << 40,), (1,), False),
    "memory by a number": Called(bytearray, 1 << 34),
}


@pytest.mark.parametrize("name", [*FORGED, "packed", "a list", "no step", "no model"])
def test_a_checkpoint_that_says_what_cannot_be(name, finished_run, tmp_path):
    """The one before it is taken, or it is named."""
    run = tmp_path / "run"
    shutil.copytree(finished_run, run)
    path = checkpoint.folder_of(run) / "00000099.pt"
    if name in FORGED:
        torch_file(path, {"model": {"w": FORGED[name]}, "step": 99})
    elif name == "packed":
        numbers = bytes(80 << 20)
        state = {"model": {"w": tensor(20 << 20, 0, (20 << 20,), (1,))}, "step": 99}
        torch_file(path, state, zipfile.ZIP_DEFLATED, numbers)
    elif name == "a list":
        torch.save([1], path)
    else:
        state = checkpoint.load_last(run)[1]
        torch.save(state | ({"step": "x"} if name == "no step" else {"model": []}), path)
        with pytest.raises(TrainerError, match=r"00000099\.pt does not fit"):
            checkpoint.load_backbone(run)
        return
    assert checkpoint.load_last(run)[0].name == "00000008.pt"


def test_a_training_does_not_go_on_with_other_sums(finished_run, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(finished_run, run)
    path, state = checkpoint.load_last(run)
    for kept in state["optimiser"]["state"].values():
        kept |= {k: torch.zeros(3) for k, v in kept.items() if torch.is_tensor(v) and v.dim()}
    torch.save(state, path)
    said = run_ascnet("train", "--run", run, "--resume", cwd=tmp_path)
    assert said.returncode == 1 and "does not fit the settings" in said.stderr


def test_weights_that_fill_the_memory(tmp_path):
    packed = torch_file(
        tmp_path / "a.pt",
        {"w": tensor(20 << 20, 0, (20 << 20,), (1,))},
        zipfile.ZIP_DEFLATED,
        bytes(80 << 20),
    )
    with pytest.raises(TrainerError, match=r"a\.pt is refused: it would fill 84 MB, and has 0\.1"):
        read_tensors(packed)
    called = torch_file(tmp_path / "b.pt", {"w": FORGED["memory by a number"]})
    with pytest.raises(TrainerError, match=r"b\.pt is refused: it calls bytearray to allocate"):
        read_tensors(called)
    older = tmp_path / "c.pt"
    torch.save({"w": torch.ones(4)}, older, _use_new_zipfile_serialization=False)
    assert read_tensors(older)["w"].tolist() == [1] * 4
    body = pickle.dumps({"w": bytearray}, 2)
    content = older.read_bytes()
    start = content.index(b"\x80\x02", content.index(b"type_sizes"))
    older.write_bytes(content[:start] + body)
    with pytest.raises(TrainerError, match=r"c\.pt is refused: it calls"):
        read_tensors(older)


@pytest.mark.parametrize("step", [b"]", b"}", b"(", b"h\x00)R"], ids=ascii)
@pytest.mark.parametrize("kind", ["zip", "older"])
def test_a_pickle_of_very_many_steps(step, kind, tmp_path, monkeypatch):
    """Sixty million empty lists are 4 GB, and 60 KB on the disk."""
    monkeypatch.setattr(torch_archive, "_STEPS", 1000)
    steps = b"\x80\x02ccollections\nOrderedDict\nq\x00" + step * 2000 + b"."
    path = tmp_path / "a.pt"
    if kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as parts:
            parts.writestr("a/data.pkl", steps)
            parts.writestr("a/version", "3\n")
    else:
        path.write_bytes(steps)
    with pytest.raises(TrainerError, match=r"a\.pt is refused: it has more than 1000"):
        read_tensors(path)


def test_weights_that_were_zipped_again_are_read(tmp_path):
    torch.save({"w": torch.ones(1000)}, tmp_path / "a.pt")
    with (
        zipfile.ZipFile(tmp_path / "a.pt") as one,
        zipfile.ZipFile(tmp_path / "b.pt", "w", zipfile.ZIP_DEFLATED) as other,
    ):
        for name in one.namelist():
            other.writestr(name, one.read(name))
    assert read_tensors(tmp_path / "b.pt")["w"].sum() == 1000


@pytest.mark.parametrize(
    "header",
    [
        {"a": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}},
        {"a": {"dtype": "F32", "shape": [1 << 62, 8], "data_offsets": [0, 16]}},
        {"a": {"dtype": "F32", "shape": [4], "data_offsets": [16, 0]}},
        {n: {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]} for n in "ab"},
        DEEP,
    ],
)
def test_safetensors_that_say_what_cannot_be(header, tmp_path):
    text = ('{"a":' + header if isinstance(header, str) else json.dumps(header)).encode()
    file = tmp_path / "a.safetensors"
    file.write_bytes(len(text).to_bytes(8, "little") + text + bytes(16))
    with pytest.raises(TrainerError, match=r"a\.safetensors cannot be read"):
        read_tensors(file)


@pytest.mark.parametrize("identity", [None, [1], {1: 2, "a": 3}, {"a": {"b": torch.ones(2)}}])
def test_what_is_kept_of_a_classifier(identity, tmp_path):
    torch.save({"identity": identity}, tmp_path / "state.pt")
    kept = Kept(tmp_path, {"a": 1}, {})
    with pytest.raises(EvaluateError, match=r"state\.pt (is damaged|was trained with)"):
        kept.state()


def test_results_and_logs(tmp_path):
    whole = {"task": "knn", "dataset": "d", "split": "1", "columns": ["a"], "results": {}}
    (tmp_path / "results").mkdir()
    bad = [DEEP, "1" * 5000, json.dumps(whole | {"results": {"trained": {"a": 10**400}}}), "[]"]
    bad.append(json.dumps(whole | {"splits": {"1": {"counts": {"x": 1}, "results": 1}}}))
    for number, text in enumerate(bad):
        (tmp_path / "results" / f"{number}.json").write_text(text)
    (tmp_path / "results" / "folder.json").mkdir()
    own = results.read_results(tmp_path)
    tables, unread = own.tables, own.unread
    assert len(tables) + len(unread) == 6 and len(unread) >= 5
    lines = [DEEP, '{"step": ' + "9" * 400 + "}", '{"step": 1e999}', '{"step": -1}']
    lines += ['{"step": 1, "steps": "x"}', '{"step": 2, "loss": ' + "9" * 400 + "}"]
    lines += ['{"step": 3, "loss": NaN}', '{"step": true, "loss": 1}', '{"step": 4, "loss": 1}']
    (tmp_path / "log.jsonl").write_text("\n".join(lines))
    found = curves.read_training(tmp_path)
    assert found.step == 4 and found.broken == 5
    for text in (DEEP, '{"name": [], "source_sha256": null}', '{"name": "a", "source_sha256": 1}'):
        (tmp_path / "training_videos.jsonl").write_text(text)
        assert trained_videos._read(tmp_path / "training_videos.jsonl") is None
