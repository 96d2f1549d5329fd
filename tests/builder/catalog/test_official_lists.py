"""The catalogs and plans of trees that hold all official names, as empty files."""

import csv
from collections import Counter
from pathlib import Path

import pytest

from builder.build.plan import plan_shards
from builder.catalog import hmdb51, kinetics, official_counts, ucf101
from builder.catalog.source import Catalog
from tests.builder.catalog.trees import touch

OFFICIAL = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "splits"
pytestmark = pytest.mark.skipif(
    not OFFICIAL.is_dir(), reason="the official lists are not on this machine"
)


def lines(*path: str) -> list[str]:
    return OFFICIAL.joinpath(*path).read_text().splitlines()


@pytest.fixture(scope="module")
def ucf(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("ucf101")
    names = {
        line.split()[0] for p in ("train", "test") for line in lines("ucf101", f"{p}list01.txt")
    }
    touch(root / "UCF-101", *names)
    (root / "ucfTrainTestlist").symlink_to(OFFICIAL / "ucf101")
    return root


@pytest.fixture(scope="module")
def hmdb(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("hmdb51")
    names = []
    for path in (OFFICIAL / "hmdb51").iterdir():
        if path.name.endswith("_test_split1.txt"):
            folder = path.name.removesuffix("_test_split1.txt")
            names += [f"{folder}/{line.split()[0]}" for line in path.read_text().splitlines()]
    touch(root / "hmdb51_org", *names)
    (root / "testTrainMulti_7030_splits").symlink_to(OFFICIAL / "hmdb51")
    return root


def counts(catalog: Catalog, split: str) -> tuple[int, int, int]:
    """Videos in train, in test and in neither."""
    part = Counter(video.splits.get(split) for video in catalog.videos)
    return part["train"], part["test"], part[None]


def must_be_whole(catalog: Catalog, videos: int) -> None:
    """All videos are there, each in one shard, and no shard mixes memberships."""
    assert len({video.name for video in catalog.videos}) == len(catalog.videos) == videos
    assert {video.problem for video in catalog.videos} == {None}
    assert all(video.path.is_file() for video in catalog.videos)
    assert catalog.left_alone == ()
    assert catalog.remarks == ()
    must_be_planned(catalog)


def must_be_planned(catalog: Catalog) -> None:
    plans = plan_shards(catalog.videos, 128)
    keys = [key for plan in plans for key in plan.keys]
    assert sorted(keys) == list(range(len(catalog.videos)))
    for plan in plans:
        assert all(catalog.videos[key].splits == plan.splits for key in plan.keys)
        assert 1 <= len(plan.keys) <= 128


def test_ucf101(ucf):
    catalog = ucf101.read(ucf)
    must_be_whole(catalog, 13_320)
    assert [counts(catalog, split) for split in "123"] == [
        (9537, 3783, 0),
        (9586, 3734, 0),
        (9624, 3696, 0),
    ]
    assert list(catalog.classes) == lines("label_maps", "ucf101", "label_map.txt")
    by_name = {video.name: video for video in catalog.videos}
    for split in "123":
        for line in lines("ucf101", f"trainlist0{split}.txt"):
            name, number = line.split()
            assert by_name[name].splits[split] == "train"
            assert catalog.label(by_name[name]) == int(number) - 1
        for line in lines("ucf101", f"testlist0{split}.txt"):
            assert by_name[line.strip()].splits[split] == "test"
    assert len({video.group for video in catalog.videos}) == 101 * 25


def test_ucf101_without_its_lists_is_the_same(ucf, tmp_path):
    (tmp_path / "UCF-101").symlink_to(ucf / "UCF-101")
    with_lists, without = ucf101.read(ucf), ucf101.read(tmp_path)
    assert {video.name for video in with_lists.videos} == set(official_counts.ucf101_videos())
    assert without.classes == with_lists.classes
    assert [(v.name, v.splits) for v in without.videos] == [
        (v.name, v.splits) for v in with_lists.videos
    ]


def test_hmdb51(hmdb):
    catalog = hmdb51.read(hmdb)
    must_be_whole(catalog, 6_766)
    assert [counts(catalog, split) for split in "123"] == 3 * [(3570, 1530, 1666)]
    assert list(catalog.classes) == lines("label_maps", "hmdb51", "label_map.txt")
    by_name = {video.name: video for video in catalog.videos}
    part = {"0": None, "1": "train", "2": "test"}
    for path in (OFFICIAL / "hmdb51").iterdir():
        folder, split = path.stem.split("_test_split")
        for line in path.read_text().splitlines():
            name, number = line.split()
            assert by_name[f"{folder}/{name}"].splits.get(split) == part[number]
            assert catalog.classes[catalog.label(by_name[f"{folder}/{name}"])] == folder
    groups = {video.group for video in catalog.videos}
    assert len(groups) == 1407
    assert not any("/" in group for group in groups)  # every name is understood


def test_kinetics400_validation(tmp_path):
    table = OFFICIAL / "kinetics400" / "data" / "kinetics-400_val.csv"
    rows = list(csv.DictReader(table.read_text().splitlines()))
    there = [
        f"val_256/{row['label'].replace(' ', '_')}/"
        f"{row['youtube_id']}_{int(row['time_start']):06d}_{int(row['time_end']):06d}.mp4"
        for row in rows[::5]
    ]
    touch(tmp_path, *there)
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / table.name).symlink_to(table)
    catalog = kinetics.read(tmp_path, 400)
    assert len(catalog.videos) == 19_906
    assert {v.name for v in catalog.videos if v.problem is None} == set(there)
    assert Counter(v.problem for v in catalog.videos) == {None: 3982, "missing": 15_924}
    assert {tuple(v.splits.items()) for v in catalog.videos} == {(("1", "val"),)}
    assert catalog.left_alone == ()
    assert list(catalog.classes) == lines("label_maps", "kinetics", "label_map_k400.txt")
    assert [v.class_name for v in catalog.videos] == [row["label"] for row in rows]
    assert [v.group for v in catalog.videos] == [row["youtube_id"] for row in rows]
    must_be_planned(catalog)
    (tmp_path / "annotations" / "test.csv").symlink_to(table.with_name("kinetics-400_test.csv"))
    tested = kinetics.read(tmp_path, 400)
    assert Counter(v.splits["1"] for v in tested.videos) == {"val": 19_906, "test": 38_685}
    assert Counter(tested.label(v) is None for v in tested.videos) == {False: 19_906, True: 38_685}


@pytest.mark.parametrize("count", [400, 600, 700])
def test_kinetics_class_names_differ_in_what_is_compared(count):
    names = lines("label_maps", "kinetics", f"label_map_k{count}.txt")
    assert official_counts.kinetics(count) == set(names)
    assert len({kinetics.letters(name) for name in names}) == count
