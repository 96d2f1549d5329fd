import shlex
from pathlib import Path

import numpy as np
import pytest

from ascnet.groups_table import check, summary_of, table_of
from builder.catalog import folder, table
from builder.errors import BuilderError
from tests.evaluate.stores import store_of, video


def store(path: Path, videos: dict[str, str | None], groups: dict[str, str] | None = None):
    """A store of videos with their classes; the groups are the names unless they are given."""
    facts = [
        video(name, 1, class_name=c, group=(groups or {}).get(name, name))
        for name, c in videos.items()
    ]
    return store_of(path, facts, [np.ones((1, 3))] * len(facts))


TREE = {"a/1.mp4": "a", 'a/2, "b".mp4': "a", "b/1.mp4": "b", "b/\n2.mp4": "b", "3.mp4": None}


def test_a_folder_reads_what_is_written(tmp_path):
    for name in TREE:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found, out = store(tmp_path / "x.h5", TREE), tmp_path / "splits.csv"
    groups = ["x", "x", "b/1.mp4", "x", "3.mp4"]
    check(found, out)
    out.write_bytes(table_of(found, groups).encode())
    assert {v.name: v.group for v in folder.read(tmp_path).videos} == dict(
        zip(TREE, groups, strict=True)
    )
    *_, command = summary_of(found, groups, out).splitlines()[:-1]
    assert shlex.split(command) == ["ascnet", "build", "folder", "--source", str(tmp_path)]
    with pytest.raises(BuilderError, match="exists, and"):
        check(found, out)
    with pytest.raises(BuilderError, match="There is no folder"):
        check(found, tmp_path / "nowhere" / "splits.csv")


def test_a_list_gets_a_list(tmp_path):
    videos: dict[str, str | None] = {"1.mp4": "jump", "2.mp4": "run", "deep/3.mp4": None}
    for name in videos:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found, out = store(tmp_path / "x.h5", videos), tmp_path / "joined.csv"
    out.write_text(table_of(found, ["x", "2.mp4", "x"]))
    read = {v.name: (v.class_name, v.group) for v in table.read(out).videos}
    assert read == {"1.mp4": ("jump", "x"), "2.mp4": ("run", "2.mp4"), "deep/3.mp4": (None, "x")}
    text = summary_of(found, ["x", "2.mp4", "x"], out)
    assert (
        "2 videos joined into 1 group, the largest of 2 videos; 2 groups in all, 3 before." in text
    )
    assert f"ascnet build csv --source {out}" in text
    elsewhere = summary_of(found, ["x", "2.mp4", "x"], tmp_path / "deep" / "a b.csv")
    assert f"cp -i '{tmp_path}/deep/a b.csv' VIDEOS/videos.csv" in elsewhere
    assert "ascnet build csv --source VIDEOS/videos.csv" in elsewhere


def test_one_group_of_a_whole_class_is_said(tmp_path):
    found = store(tmp_path / "x.h5", TREE)
    text = summary_of(found, ["x", "x", "b/1.mp4", "b/2.mp4", "3.mp4"], tmp_path / "splits.csv")
    assert "Careful: All videos of a are one group now" in text
    assert "Careful" not in summary_of(found, found.groups, tmp_path / "splits.csv")
    flat = store(tmp_path / "y.h5", {"1.mp4": None, "2.mp4": None})
    assert "Careful: All videos are one group now" in summary_of(flat, ["x", "x"], tmp_path / "s")


def test_a_name_that_no_table_can_hold_is_said(tmp_path):
    found = store(tmp_path / "x.h5", {"1.mp4": None, "caf\udce9.mp4": None, "2.mp4": None})
    assert table_of(found, ["x", "x", "2.mp4"]) == "video,group\n1.mp4,x\n2.mp4,2.mp4\n"
    text = summary_of(found, ["x", "x", "2.mp4"], tmp_path / "splits.csv")
    assert "Careful: 1 video of these cannot be named in a table" in text
    assert "Careful" not in summary_of(found, found.groups, tmp_path / "splits.csv")


@pytest.mark.parametrize("dataset", ["ucf101", "kinetics400", "shapes"])
def test_official_groups_stay(tmp_path, dataset):
    found = store(tmp_path / "x.h5", TREE)
    found.attributes["dataset"] = dataset
    with pytest.raises(BuilderError, match=f"splits of {dataset} are fixed"):
        check(found, tmp_path / "splits.csv")
    found.attributes["dataset"] = "csv"
    check(found, tmp_path / "splits.csv")
