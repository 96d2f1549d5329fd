from pathlib import Path

import pytest

from builder.catalog import official_counts, ucf101
from tests.builder.catalog.trees import refusal, there, touch, write

BIKING = "Biking/v_Biking_g08_c01.avi"
ARCHERY = "Archery/v_Archery_g01_c01.avi"
LISTS = {
    "classInd.txt": ["1 Archery", "2 Biking", "3 Bowling"],
    "trainlist01.txt": [f"{BIKING} 2 ", ""],
    "testlist01.txt": [ARCHERY],
}


def with_lists(root: Path, **changes: list[str]) -> Path:
    """A tree of one video, and lists that name it and another, as they are or otherwise."""
    touch(root, f"UCF-101/{BIKING}")
    for name, lines in (LISTS | {f"{name}.txt": lines for name, lines in changes.items()}).items():
        write(root / "ucfTrainTestlist" / name, lines, "\r\n")
    return root


@pytest.mark.parametrize("outer", ["", "UCF-101/"])
def test_labels_groups_and_splits(tmp_path, outer):
    test_in = {
        "Biking/v_Biking_g01_c01.avi": "1",
        "Biking/v_Biking_g09_c02.avi": "2",
        "Archery/v_Archery_g15_c01.avi": "3",
        "HandstandPushups/v_HandStandPushups_g25_c01.avi": None,
    }
    touch(tmp_path, *(outer + name for name in test_in))
    catalog = ucf101.read(tmp_path)
    by_name = {video.name: video for video in there(catalog)}
    assert {name: video.splits for name, video in by_name.items()} == {
        name: {split: "test" if split == test else "train" for split in "123"}
        for name, test in test_in.items()
    }
    video = by_name["Biking/v_Biking_g09_c02.avi"]
    assert video.group == "Biking/g09"
    assert catalog.label(video) == list(official_counts.ucf101()).index("Biking") == 10


def test_names_that_are_not_understood(tmp_path):
    """Among them groups that are not 1 to 25."""
    good = [f"Biking/v_Biking_g{group}_c01.avi" for group in ("01", "25")]
    bad = ["holiday.avi", "v_Biking_g00_c01.avi", "v_Biking_g26_c01.avi", "v_Run_g01_c01.avi"]
    touch(tmp_path, *good, *(f"Biking/{name}" for name in bad))
    catalog = ucf101.read(tmp_path)
    assert [v.group for v in there(catalog)] == ["Biking/g01", "Biking/g25"]
    assert len(catalog.videos) == 13_320
    assert catalog.left_alone == tuple((f"Biking/{name}", "name not understood") for name in bad)
    for name in good:
        (tmp_path / name).unlink()
    said = refusal(ucf101.read, tmp_path)
    assert "None of the 4 .avi files" in said and "is Biking/holiday.avi: name not" in said


def test_official_lists_give_labels_and_missing_videos(tmp_path):
    catalog = ucf101.read(with_lists(tmp_path))
    assert catalog.classes == ("Archery", "Biking", "Bowling")
    assert [(v.name, v.problem, catalog.label(v)) for v in catalog.videos] == [
        (BIKING, None, 1),
        (ARCHERY, "missing", 0),
    ]
    assert catalog.remarks == (
        "Careful: this is not the whole of UCF-101, which has 13 320 videos of 101 classes; "
        "it is 2 videos of 3 classes.",
    )


@pytest.mark.parametrize(
    ("name", "lines", "said"),
    [
        ("trainlist01", [f"{BIKING} 1"], "the label 1, and classInd.txt gives"),
        ("trainlist01", ["Swing/v_Swing_g08_c01.avi 1"], "Swing is no class in classInd.txt"),
        ("trainlist01", [f"{BIKING} 2 3"], "is no line such as 'Archery/v_"),
        ("testlist01", [BIKING], "is in both lists of split 1"),
        ("testlist01", ["Biking/v_Biking_g09_c01.avi"], "g09_c01.avi is in the test list of spl"),
        ("trainlist02", ["Biking/v_Biking_g01_c01.avi 2"], "testlist02.txt is missing"),
        ("classInd", ["0 Archery", "1 Biking"], "must number 2 different classes 1, 2, ..., 2"),
        ("classInd", ["one Archery"], "is no line such as '1 ApplyEyeMakeup'"),
    ],
)
def test_lists_that_are_refused(name, lines, said, tmp_path):
    assert said in refusal(ucf101.read, with_lists(tmp_path, **{name: lines}))


def test_what_is_left_alone(tmp_path):
    names = ["Biking/.x.avi", "Biking/a.txt", "Biking/more/v_Biking_g08_c02.avi"]
    names += ["Biking/v_Biking_g09_c01.avi", "ucfTrainTestlist/readme.txt", "v_Biking_g08_c03.avi"]
    (with_lists(tmp_path) / "UCF-101" / "Biking").rename(tmp_path / "Biking")
    (tmp_path / "UCF-101").rmdir()
    touch(tmp_path, *names)
    catalog = ucf101.read(tmp_path)
    assert [v.name for v in there(catalog)] == [BIKING]
    reasons = ["hidden", "no .avi file", "not in a class folder", "in no official list"]
    reasons += ["no .avi file", "not in a class folder"]
    left_alone = [(name, reason.split(":")[0]) for name, reason in catalog.left_alone]
    assert left_alone == list(zip(names, reasons, strict=True))


def test_a_folder_called_as_its_files(tmp_path):
    file = "v_HandStandPushups_g01_c01.avi"
    touch(tmp_path, f"HandStandPushups/{file}")
    (video,) = there(ucf101.read(tmp_path))
    assert video.name == f"HandStandPushups/{file}"
    assert (video.class_name, video.group) == ("HandstandPushups", "HandstandPushups/g01")
    lists = tmp_path / "ucfTrainTestlist"
    write(lists / "classInd.txt", ["1 Bowling", "2 HandstandPushups"])
    write(lists / "trainlist01.txt", ["Bowling/v_Bowling_g08_c01.avi"])
    write(lists / "testlist01.txt", [f"HandstandPushups/{file}"])
    catalog = ucf101.read(tmp_path)
    assert [(catalog.label(v), v.problem) for v in catalog.videos] == [(1, None), (0, "missing")]
    touch(tmp_path, f"HandstandPushups/{file}")
    catalog = ucf101.read(tmp_path)
    assert catalog.videos[0].name == f"HandstandPushups/{file}"
    assert (f"HandStandPushups/{file}", f"the same video as HandstandPushups/{file}") in (
        catalog.left_alone
    )


def test_what_is_known_without_lists():
    names = list(official_counts.ucf101_videos())
    assert len(names) == len(set(names)) == 13_320
    assert len(official_counts.ucf101()) == 101
    sources = [ucf101._source(Path(), name) for name in names]
    assert not any(source.problem for source in sources)
    assert len({source.group for source in sources}) == 101 * 25
    for split, videos in (("1", 3_783), ("3", 3_696)):
        assert [source.splits[split] for source in sources].count("test") == videos


def test_without_lists_what_is_missing_is_counted(tmp_path):
    names = {f"{c}/v_{c}_g01_c01.avi" for c in ("HammerThrow", "Hammering")}
    touch(tmp_path, *names, "Hammering/v_Hammering_g01_c99.avi")
    catalog = ucf101.read(tmp_path)
    assert list(catalog.classes) == sorted(catalog.classes, key=str.lower)
    assert len(catalog.videos) == 13_320
    assert {v.name for v in there(catalog)} == names
    assert {v.problem for v in catalog.videos} == {None, "missing"}
    assert catalog.left_alone == (("Hammering/v_Hammering_g01_c99.avi", ucf101._UNKNOWN),)
    assert catalog.remarks == ()  # the count says it


@pytest.mark.parametrize(
    ("folders", "lists", "said"),
    [
        (["Biking", "Extra"], False, "Folder Extra is no class in UCF-101 (101 classes)"),
        (["F1", "F2"], False, "2 folders are no classes in UCF-101 (101 classes): F1, F2."),
        (["biking"], True, "Folder biking is no class in classInd.txt (3 classes)"),
    ],
)
def test_folders_that_are_no_class(folders, lists, said, tmp_path):
    if lists:
        with_lists(tmp_path)
    touch(tmp_path, *(f"UCF-101/{name}/v_{name}_g01_c01.avi" for name in folders))
    assert said in refusal(ucf101.read, tmp_path)


def test_there_is_nothing(tmp_path):
    said = refusal(ucf101.read, tmp_path / "absent")
    assert "There is no folder" in said and "--source" in said
    touch(tmp_path, "a/readme.txt")
    assert "No UCF-101" in refusal(ucf101.read, tmp_path)
