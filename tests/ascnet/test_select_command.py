"""`ascnet select`, as it is called."""

import csv
from pathlib import Path

import numpy as np
import pytest

from builder.catalog import folder
from tests.commands import run_ascnet
from tests.evaluate.stores import store_of, video


def says(*words: object, fails: bool = False) -> str:
    done = run_ascnet("select", *words, cwd=Path.cwd())
    assert (done.returncode != 0) == fails, done.stderr
    return done.stderr if fails else done.stdout


@pytest.fixture
def store(tmp_path, request):
    """Of 20 different videos of two classes, and a copy of the first one in a folder of its own;
    with a split where a test asks for it."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(20, 1, 32)).astype(np.float32)
    rows = np.concatenate([rows, rows[:1] * 1.001])
    names = [f"{'ab'[i % 2]}/v_g{i // 2:02d}_c{i}.mp4" for i in range(20)] + ["b/copy.mp4"]
    splits = [{"1": "test" if i < 4 else "train"} for i in range(21)]
    videos = []
    for i, name in enumerate(names):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
        split = splits[i] if getattr(request, "param", False) else {}
        of_class = {"class_name": name[0], "label": "ab".index(name[0])}
        videos.append(video(name, 1, group=folder.group_of(name, ""), splits=split, **of_class))
    return store_of(tmp_path / "x.h5", videos, rows).path


def test_the_most_different_videos_as_a_table(store, tmp_path):
    out = tmp_path / "splits.csv"
    text = says(store, "--count", 11, "--out", out)
    assert f"{out}: 11 videos of 21 chosen, of 11 recordings of 11 and 2 of 2 classes." in text
    assert f"ascnet build folder --source {tmp_path}" in text
    parts = {v.name: v.splits.get("1", "") for v in folder.read(tmp_path).videos}
    assert sorted(parts.values()) == [""] * 10 + ["train"] * 11
    assert (parts["a/v_g00_c0.mp4"] == "train") + (parts["b/v_g00_c1.mp4"] == "train") == 1


@pytest.mark.parametrize("store", [True], indirect=True)
def test_test_videos_are_never_chosen(store, tmp_path):
    out = tmp_path / "chosen.csv"
    says(store, "--count", 3, "--out", out)
    with out.open(newline="") as file:
        parts = [row["split"] for row in csv.DictReader(file)]
    assert parts[:4] == ["test"] * 4
    assert parts.count("train") == 3 and parts.count("unused") == 14
    error = says(store, "--count", 18, "--out", tmp_path / "more.csv", fails=True)
    assert "--count is 18" in error and "has 17 training videos, so it takes 1 to 17." in error


def test_there_may_be_no_training_video(tmp_path):
    names = ["a.mp4", "b.mp4"]
    videos = [video(name, 1, splits={"1": "test"}) for name in names]
    store = store_of(tmp_path / "x.h5", videos, list(np.eye(2, dtype=np.float32)[:, None]))
    error = says(store.path, "--count", 1, "--out", tmp_path / "y.csv", fails=True)
    assert "x.h5 has no training video. Embed videos without a split" in error


def test_a_split_keeps_recordings_and_copies_together(store, tmp_path):
    for seed in range(4):
        out = tmp_path / "splits.csv"
        text = says(store, "--split", "60/40", "--seed", seed, "--out", out)
        assert "share no recording and no copy" in text
        found = {v.name: (v.splits["1"], v.group) for v in folder.read(tmp_path).videos}
        assert {part for part, _ in found.values()} == {"train", "test"}
        groups = dict.fromkeys(found.values())
        assert len({group for _, group in groups}) == len(groups)  # a group in one part
        assert found["b/copy.mp4"][0] == found["a/v_g00_c0.mp4"][0]
        assert found["b/v_g00_c1.mp4"][0] == found["a/v_g00_c0.mp4"][0]
        out.unlink()


@pytest.mark.parametrize(
    "words, said",
    [
        ((), "Give either --count N or --split TRAIN/TEST."),
        (("--count", 2, "--split", "70/30"), "Give either"),
        (("--split", "70/20"), "'70/20' is not a split; give two percentages"),
        (("--split", "100/0"), "'100/0' is not a split"),
        (("--count", 22), "--count is 22"),
    ],
)
def test_what_is_refused(words, said, store, tmp_path):
    assert said in says(store, *words, "--out", tmp_path / "y.csv", fails=True)
    assert not (tmp_path / "y.csv").exists()


def test_a_table_that_is_there_is_kept(store, tmp_path):
    (tmp_path / "y.csv").write_text("mine")
    error = says(store, "--count", 2, "--out", tmp_path / "y.csv", fails=True)
    assert "y.csv exists, and" in error and (tmp_path / "y.csv").read_text() == "mine"
    error = says(store, "--count", 2, "--out", tmp_path / "no" / "y.csv", fails=True)
    assert "There is no folder" in error and "for --out" in error
