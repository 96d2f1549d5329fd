from pathlib import Path

import pytest

from builder.catalog import hmdb51, official_counts
from tests.builder.catalog.trees import refusal, touch, write

ENDING = "f_cm_np1_ba_med_{}.avi"
ODD = "(HQ)_#2;[a]_&!@+~-"
ROWS = {  # ids in the splits 1, 2, 3
    f"kick/{ODD}_kick_{ENDING.format(1)}": "120",
    f"kick/Film_kick_{ENDING.format(2)}": "201",
    f"kick_ball/Film_kick_ball_{ENDING.format(3)}": "112",
    f"kick_ball/Other_kick_ball_{ENDING.format(4)}": "000",
}


def write_lists(folder: Path) -> None:
    for name in {name.split("/")[0] for name in ROWS}:
        rows = [(row.split("/")[1], ids) for row, ids in ROWS.items() if row.startswith(f"{name}/")]
        for split in range(3):
            lines = [f"{file} {ids[split]} " for file, ids in rows]
            write(folder / f"{name}_test_split{split + 1}.txt", lines)


def list_all(folder: Path, class_name: str, file: str) -> None:
    """Three lists of one video."""
    for split in "123":
        write(folder / f"{class_name}_test_split{split}.txt", [f"{file} 1 "], "\r\n")


@pytest.mark.parametrize(
    ("tree", "lists"),
    [
        ("hmdb51_org", ""),
        ("hmdb51_org", "testTrainMulti_7030_splits"),
        ("hmdb51_org", "hmdb51_org/splits"),
        ("videos", "test_train_splits"),
        ("videos", "test_train_splits/testTrainMulti_7030_splits"),
        ("", "splits"),
        ("", ""),
        ("", "../testTrainMulti_7030_splits"),
        ("videos", "../test_train_splits/testTrainMulti_7030_splits"),
    ],
)
def test_layouts_labels_groups_and_splits(tree, lists, tmp_path):
    root = tmp_path / "hmdb51"
    touch(root / tree, *ROWS)
    write_lists(root / lists)
    catalog = hmdb51.read(root)
    assert catalog.classes == ("kick", "kick_ball")
    assert [(v.name, catalog.label(v), v.group, v.problem) for v in catalog.videos] == [
        (f"kick/{ODD}_kick_{ENDING.format(1)}", 0, ODD, None),
        (f"kick/Film_kick_{ENDING.format(2)}", 0, "Film", None),
        (f"kick_ball/Film_kick_ball_{ENDING.format(3)}", 1, "Film", None),
        (f"kick_ball/Other_kick_ball_{ENDING.format(4)}", 1, "Other", None),
    ]
    assert [v.splits for v in catalog.videos] == [
        {"1": "train", "2": "test"},
        {"1": "test", "3": "train"},
        {"1": "train", "2": "train", "3": "test"},
        {},
    ]
    assert all(v.path.is_file() for v in catalog.videos)
    assert catalog.left_alone == ()


@pytest.mark.parametrize(
    ("listed", "there"), [("Am\u00e9lie", "Ame\u0301lie"), ("A\u030a", "\u00c5")]
)
def test_a_name_in_another_unicode_form(listed, there, tmp_path):
    name = f"kick/{{}}_kick_{ENDING.format(7)}"
    touch(tmp_path / "hmdb51_org", name.format(there))
    list_all(tmp_path / "splits", "kick", name.format(listed).split("/")[1])
    catalog = hmdb51.read(tmp_path)
    (video,) = catalog.videos
    assert (video.name, video.group, video.problem) == (name.format(listed), listed, None)
    assert video.path.is_file()
    assert catalog.left_alone == ()


def test_lists_that_are_not_all_of_it_are_said(tmp_path):
    touch(tmp_path, *ROWS)
    write_lists(tmp_path / "splits")
    (remark,) = hmdb51.read(tmp_path).remarks
    whole = "HMDB-51, which has 6 766 videos of 51 classes"
    assert remark == f"Careful: this is not the whole of {whole}; it is 4 videos of 2 classes."
    list_all(tmp_path / "splits", "juggle", f"Film_juggle_{ENDING.format(1)}")
    (remark,) = hmdb51.read(tmp_path).remarks
    assert remark.endswith("5 videos of 3 classes. Of these, 1 is not among its classes: juggle.")


def test_lists_of_another_data_set(tmp_path):
    touch(tmp_path, f"juggle/Film_juggle_{ENDING.format(1)}")
    list_all(tmp_path, "juggle", f"Film_juggle_{ENDING.format(1)}")
    said = refusal(hmdb51.read, tmp_path)
    assert "None of the 1 classes" in said and "is one of HMDB-51: juggle" in said


def test_what_is_known_without_lists():
    assert len(official_counts.hmdb51()) == 51
    assert sum(official_counts.hmdb51().values()) == 6_766


def test_missing_and_left_alone(tmp_path):
    first, *others = ROWS
    touch(tmp_path, *others, "kick/Film_kick_f_cm_np1_ba_med_99.avi", "kick.rar", "loose.avi")
    touch(tmp_path, f"kick/{others[1].split('/')[1]}")
    write_lists(tmp_path / "splits")
    touch(tmp_path, "splits/readme.txt")
    catalog = hmdb51.read(tmp_path)
    assert [v.name for v in catalog.videos if v.problem == "missing"] == [first]
    assert catalog.left_alone == (
        ("kick.rar", hmdb51.NO_VIDEO_NAME),
        ("kick/Film_kick_ball_f_cm_np1_ba_med_3.avi", "in no official list"),
        ("kick/Film_kick_f_cm_np1_ba_med_99.avi", "in no official list"),
        ("loose.avi", "in no official list"),
        ("splits/readme.txt", hmdb51.NO_VIDEO_NAME),
    )


def test_a_listed_name_of_another_form_is_a_group_of_its_own(tmp_path):
    list_all(tmp_path, "kick", "holiday 1.avi")
    touch(tmp_path, "kick/holiday 1.avi")
    (video,) = hmdb51.read(tmp_path).videos
    assert (video.group, video.problem) == ("kick/holiday 1.avi", None)


def test_what_is_refused(tmp_path):
    assert "There is no folder" in refusal(hmdb51.read, tmp_path / "absent")
    touch(tmp_path, "hmdb51_org/kick.rar")
    assert "then the archive of each class" in refusal(hmdb51.read, tmp_path)
    touch(tmp_path, "hmdb51_org/kick/holiday.avi")
    assert "`ascnet fetch hmdb51`, or unpack test_train_splits.rar" in refusal(
        hmdb51.read, tmp_path
    )
    write_lists(tmp_path / "splits")
    assert "Of the 4 videos in" in refusal(hmdb51.read, tmp_path)
    touch(tmp_path / "hmdb51_org", *ROWS)
    assert len(hmdb51.read(tmp_path).videos) == 4


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "kick_test_split2.txt is missing; every class needs its three lists"),
        ("a.avi 1 \n", "is in some of the three lists of kick"),
        ("a.avi 3 \n", "'a.avi 3' is no line such as 'name.avi 1'"),
        ("a.avi\n", "'a.avi' is no line such as"),
        ("a.avi 1 \na.avi 2 \n", "has two parts for 'a.avi'"),
    ],
)
def test_lists_that_are_not_whole(text, said, tmp_path):
    touch(tmp_path, *ROWS)
    write_lists(tmp_path)
    path = tmp_path / "kick_test_split2.txt"
    path.unlink()
    if text is not None:
        path.write_text(text)
    assert said in refusal(hmdb51.read, tmp_path)
