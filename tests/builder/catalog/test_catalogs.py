import os
from pathlib import Path

import numpy as np
import pytest

from builder.catalog import files, folder, official_counts, shapes, ucf101
from builder.errors import BuilderError


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


@pytest.mark.parametrize("outer", ["", "UCF-101/"])
def test_ucf101_labels_groups_and_splits(tmp_path, outer):
    names = ["Biking/v_Biking_g01_c01.avi", "Biking/v_Biking_g09_c02.avi"]
    names += ["Archery/v_Archery_g15_c01.avi", "HandstandPushups/v_HandStandPushups_g25_c01.avi"]
    touch(tmp_path, *(outer + name for name in names))
    catalog = ucf101.read(tmp_path)
    by_name = {video.name: video for video in catalog.videos if video.problem != "missing"}
    assert set(by_name) == set(names)
    assert by_name[names[0]].splits == {"1": "test", "2": "train", "3": "train"}
    assert by_name[names[1]].splits == {"1": "train", "2": "test", "3": "train"}
    assert by_name[names[2]].splits == {"1": "train", "2": "train", "3": "test"}
    assert by_name[names[3]].splits == {"1": "train", "2": "train", "3": "train"}
    assert by_name[names[3]].problem is None
    assert by_name[names[1]].group == "Biking/g09"
    assert catalog.label(by_name[names[1]]) == list(official_counts.ucf101()).index("Biking") == 10


def test_ucf101_name_that_is_not_understood(tmp_path):
    touch(tmp_path, "Biking/v_Biking_g01_c01.avi", "Biking/holiday.avi", "Biking/v_Run_g01_c01.avi")
    catalog = ucf101.read(tmp_path)
    assert [v.name for v in catalog.videos if v.problem is None] == ["Biking/v_Biking_g01_c01.avi"]
    assert len(catalog.videos) == 13_320
    assert catalog.left_alone == (
        ("Biking/holiday.avi", "name not understood"),
        ("Biking/v_Run_g01_c01.avi", "name not understood"),
    )
    (tmp_path / "Biking" / "v_Biking_g01_c01.avi").unlink()
    with pytest.raises(
        BuilderError, match=r"None of the 2 .avi files .* is Biking/holiday.avi: na"
    ):
        ucf101.read(tmp_path)


def write_lists(root: Path, train: str, test: str) -> None:
    lists = root / "ucfTrainTestlist"
    lists.mkdir()
    (lists / "classInd.txt").write_bytes(b"1 Archery\r\n2 Biking\r\n3 Bowling\r\n")
    label = {"Archery": 1, "Biking": 2, "Bowling": 3}[train.split("/", maxsplit=1)[0]]
    (lists / "trainlist01.txt").write_bytes(f"{train} {label} \r\n\r\n".encode())
    (lists / "testlist01.txt").write_bytes(f"{test}\r\n".encode())


def test_ucf101_official_lists_give_labels_and_missing_videos(tmp_path):
    touch(tmp_path, "UCF-101/Biking/v_Biking_g08_c01.avi")
    write_lists(tmp_path, "Biking/v_Biking_g08_c01.avi", "Archery/v_Archery_g01_c01.avi")
    catalog = ucf101.read(tmp_path)
    assert catalog.classes == ("Archery", "Biking", "Bowling")
    assert [(v.name, v.problem) for v in catalog.videos] == [
        ("Biking/v_Biking_g08_c01.avi", None),
        ("Archery/v_Archery_g01_c01.avi", "missing"),
    ]
    assert [catalog.label(v) for v in catalog.videos] == [1, 0]


def test_ucf101_lists_that_disagree_are_refused(tmp_path):
    touch(tmp_path, "UCF-101/Biking/v_Biking_g08_c01.avi")
    write_lists(tmp_path, "Archery/v_Archery_g08_c01.avi", "Biking/v_Biking_g08_c01.avi")
    with pytest.raises(BuilderError, match=r"v_Biking_g08_c01.avi is in the test list of split 1"):
        ucf101.read(tmp_path)


def lists_error(tmp_path: Path, name: str, text: str) -> str:
    """What is said when one of the lists reads otherwise."""
    touch(tmp_path, "UCF-101/Biking/v_Biking_g08_c01.avi")
    write_lists(tmp_path, "Biking/v_Biking_g08_c01.avi", "Archery/v_Archery_g01_c01.avi")
    (tmp_path / "ucfTrainTestlist" / name).write_text(text)
    with pytest.raises(BuilderError) as caught:
        ucf101.read(tmp_path)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("trainlist01.txt", "Biking/v_Biking_g08_c01.avi 1", "the label 1, and classInd.txt gives"),
        ("trainlist01.txt", "Swing/v_Swing_g08_c01.avi 1", "Swing is no class in classInd.txt"),
        ("trainlist01.txt", "Biking/v_Biking_g08_c01.avi 2 3", "is no line such as 'Archery/v_"),
        ("testlist01.txt", "Biking/v_Biking_g08_c01.avi", "is in both lists of split 1"),
        ("trainlist02.txt", "Biking/v_Biking_g01_c01.avi 2", "testlist02.txt is missing"),
        ("classInd.txt", "0 Archery\n1 Biking", "must number 2 different classes 1, 2, ..., 2"),
        ("classInd.txt", "one Archery", "is no line such as '1 ApplyEyeMakeup'"),
    ],
)
def test_ucf101_lists_that_are_not_whole(name, text, said, tmp_path):
    assert said in lists_error(tmp_path, name, text)


def test_ucf101_folder_that_is_no_class(tmp_path):
    touch(tmp_path, "UCF-101/biking/v_Biking_g08_c01.avi")
    write_lists(tmp_path, "Biking/v_Biking_g08_c01.avi", "Archery/v_Archery_g01_c01.avi")
    with pytest.raises(BuilderError, match=r"Folder biking is no class in classInd.txt \(3 cla"):
        ucf101.read(tmp_path)


def test_ucf101_what_is_left_alone(tmp_path):
    touch(tmp_path, "Biking/v_Biking_g08_c01.avi", "Biking/v_Biking_g09_c01.avi", "Biking/a.txt")
    touch(tmp_path, "Biking/more/v_Biking_g08_c02.avi", "v_Biking_g08_c03.avi", "Biking/.x.avi")
    write_lists(tmp_path, "Biking/v_Biking_g08_c01.avi", "Archery/v_Archery_g01_c01.avi")
    touch(tmp_path, "ucfTrainTestlist/readme.txt")
    catalog = ucf101.read(tmp_path)
    assert [v.name for v in catalog.videos if not v.problem] == ["Biking/v_Biking_g08_c01.avi"]
    assert [(name, reason.split(":")[0]) for name, reason in catalog.left_alone] == [
        ("Biking/.x.avi", "hidden"),
        ("Biking/a.txt", "no .avi file"),
        ("Biking/more/v_Biking_g08_c02.avi", "not in a class folder"),
        ("Biking/v_Biking_g09_c01.avi", "in no official list"),
        ("ucfTrainTestlist/readme.txt", "no .avi file"),
        ("v_Biking_g08_c03.avi", "not in a class folder"),
    ]


def test_ucf101_groups_are_1_to_25(tmp_path):
    touch(tmp_path, *(f"Biking/v_Biking_g{group}_c01.avi" for group in ("00", "01", "25", "26")))
    catalog = ucf101.read(tmp_path)
    assert [v.group for v in catalog.videos if v.problem is None] == ["Biking/g01", "Biking/g25"]
    assert [reason for _, reason in catalog.left_alone] == 2 * ["name not understood"]


def test_ucf101_folder_called_as_its_files(tmp_path):
    name = "v_HandStandPushups_g01_c01.avi"
    touch(tmp_path, f"HandStandPushups/{name}")
    (video,) = (v for v in ucf101.read(tmp_path).videos if v.problem != "missing")
    assert (video.name, video.problem) == (f"HandStandPushups/{name}", None)
    assert (video.class_name, video.group) == ("HandstandPushups", "HandstandPushups/g01")
    write_lists(tmp_path, "Bowling/v_Bowling_g08_c01.avi", f"HandstandPushups/{name}")
    (tmp_path / "ucfTrainTestlist" / "classInd.txt").write_text("1 Bowling\n2 HandstandPushups\n")
    (tmp_path / "ucfTrainTestlist" / "trainlist01.txt").write_text("Bowling/v_Bowling_g08_c01.avi")
    catalog = ucf101.read(tmp_path)
    assert [(catalog.label(v), v.problem) for v in catalog.videos] == [(1, None), (0, "missing")]
    touch(tmp_path, f"HandstandPushups/{name}")
    catalog = ucf101.read(tmp_path)
    assert catalog.videos[0].name == f"HandstandPushups/{name}"
    assert (f"HandStandPushups/{name}", f"the same video as HandstandPushups/{name}") in (
        catalog.left_alone
    )


def test_ucf101_is_known_without_lists():
    names = list(official_counts.ucf101_videos())
    assert len(names) == len(set(names)) == 13_320
    assert len(official_counts.ucf101()) == 101
    sources = [ucf101._source(Path(), name) for name in names]
    assert not any(source.problem for source in sources)
    assert len({source.group for source in sources}) == 101 * 25
    parts = [(source.splits["1"], source.splits["3"]) for source in sources]
    assert [first for first, _ in parts].count("test") == 3_783
    assert [third for _, third in parts].count("test") == 3_696


def test_ucf101_without_lists_counts_what_is_missing(tmp_path):
    names = [f"{c}/v_{c}_g01_c01.avi" for c in ("HammerThrow", "Hammering")]
    touch(tmp_path, *names, "Hammering/v_Hammering_g01_c99.avi")
    catalog = ucf101.read(tmp_path)
    assert list(catalog.classes) == sorted(catalog.classes, key=str.lower)
    assert len(catalog.videos) == 13_320
    assert {v.name for v in catalog.videos if v.problem is None} == set(names)
    assert {v.problem for v in catalog.videos} == {None, "missing"}
    assert catalog.left_alone == (("Hammering/v_Hammering_g01_c99.avi", ucf101._UNKNOWN),)
    assert catalog.remarks == ()  # the count says it


def test_ucf101_of_other_classes(tmp_path):
    foreign = [f"Foreign{i}" for i in range(6)]
    touch(tmp_path, *(f"{c}/v_{c}_g{g:02d}_c01.avi" for c in foreign for g in range(1, 11)))
    with pytest.raises(
        BuilderError, match=r"6 folders are no classes in UCF-101 \(101 classes\): F"
    ):
        ucf101.read(tmp_path)
    touch(tmp_path / "some", "Biking/v_Biking_g01_c01.avi", "Extra/v_Extra_g01_c01.avi")
    with pytest.raises(BuilderError, match="Folder Extra is no class in UCF-101"):
        ucf101.read(tmp_path / "some")


def test_ucf101_lists_that_are_cut_are_said(tmp_path):
    touch(tmp_path, "UCF-101/Biking/v_Biking_g08_c01.avi")
    write_lists(tmp_path, "Biking/v_Biking_g08_c01.avi", "Archery/v_Archery_g01_c01.avi")
    assert ucf101.read(tmp_path).remarks == (
        "Careful: this is not the whole of UCF-101, which has 13 320 videos of 101 classes; "
        "it is 2 videos of 3 classes.",
    )


@pytest.mark.parametrize("reader", [ucf101.read, folder.read])
def test_a_folder_that_is_not_there(reader, tmp_path):
    with pytest.raises(BuilderError, match=r"There is no folder .*--source"):
        reader(tmp_path / "absent")


@pytest.mark.parametrize(
    ("reader", "words"), [(ucf101.read, "No UCF-101"), (folder.read, "No video")]
)
def test_a_folder_without_videos(reader, words, tmp_path):
    touch(tmp_path, "a/readme.txt")
    with pytest.raises(BuilderError, match=words):
        reader(tmp_path)


def test_folder_split_parts_no_group_and_covers_every_class(tmp_path):
    names = [f"{c}/v_{c}_g{g:02d}_c{i}.mp4" for c in "ab" for g in range(1, 11) for i in range(3)]
    touch(tmp_path, *names)
    catalog = folder.read(tmp_path)
    assert catalog.classes == ("a", "b")
    parts: dict[str, set[str]] = {}
    for video in catalog.videos:
        parts.setdefault(video.group, set()).add(video.splits["1"])
    assert len(parts) == 20
    assert all(len(part) == 1 for part in parts.values())
    for name in "ab":
        tests = [g for g, part in parts.items() if g.startswith(name) and part == {"test"}]
        assert len(tests) == 3
    assert folder.read(tmp_path) == catalog


def test_folder_without_classes(tmp_path):
    touch(tmp_path, "one.mp4", "two.MKV", ".hidden.mp4", "notes.txt")
    catalog = folder.read(tmp_path)
    assert [v.name for v in catalog.videos] == ["one.mp4", "two.MKV"]
    assert {v.class_name for v in catalog.videos} == {None}
    assert {v.splits["1"] for v in catalog.videos} == {"train", "test"}
    assert catalog.left_alone == (
        (".hidden.mp4", files.HIDDEN),
        ("notes.txt", files.NO_VIDEO_NAME),
    )


def test_folder_odd_names(tmp_path):
    names = ["a/#1;[(&!@+.avi", "a/*?{x}\\.avi", "a/-dash.avi", "a/x.y.z.avi", "ü/日本.avi"]
    touch(tmp_path, *names)
    assert [v.name for v in folder.read(tmp_path).videos] == sorted(names)


def test_folder_linked_folders_are_followed_once(tmp_path):
    touch(tmp_path, "real/a/1.mp4")
    root = tmp_path / "root"
    root.mkdir()
    (root / "a").symlink_to(tmp_path / "real" / "a")
    (tmp_path / "real" / "a" / "loop").symlink_to(tmp_path / "real" / "a")
    (root / "gone.mp4").symlink_to(tmp_path / "gone.mp4")
    (root / "self.mp4").symlink_to(root / "self.mp4")
    os.mkfifo(root / "pipe.mp4")
    catalog = folder.read(root)
    assert [v.name for v in catalog.videos] == ["a/1.mp4"]
    assert catalog.left_alone == (
        ("a/loop/", files.same_folder("a/")),
        ("gone.mp4", files.NO_FILE),
        ("pipe.mp4", files.NO_FILE),
        ("self.mp4", files.NO_FILE),
    )


def link(path: Path, target: str | Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)


def classes_of(root: Path) -> dict[str, str | None]:
    return {v.name: v.class_name for v in folder.read(root).videos}


def test_a_link_to_a_folder_takes_no_class_from_it(tmp_path):
    touch(tmp_path, "A/a.mp4", "B/b.mp4", "B/deep/c.mp4")
    link(tmp_path / "A" / "more", "../B")
    link(tmp_path / "A" / "part", "../B/deep")
    link(tmp_path / "Z", "B")
    assert classes_of(tmp_path) == {"A/a.mp4": "A", "B/b.mp4": "B", "B/deep/c.mp4": "B"}
    assert folder.read(tmp_path).left_alone == (
        ("A/more/", files.same_folder("B/")),
        ("A/part/", files.same_folder("B/deep/")),
        ("Z/", files.same_folder("B/")),
    )


def test_of_links_to_one_folder_the_one_that_is_a_class_counts(tmp_path):
    touch(tmp_path, "far/B/b.mp4", "far/A/a.mp4", "root/A/x.mp4")
    root = tmp_path / "root"
    link(root / "A" / "more", tmp_path / "far" / "B")
    link(root / "B", tmp_path / "far" / "B")
    assert classes_of(root) == {"A/x.mp4": "A", "B/b.mp4": "B"}
    link(root / "A" / "up", tmp_path)  # the folder that all of this is in
    assert classes_of(root)["B/b.mp4"] == "B"
    reasons = dict(folder.read(root).left_alone)
    assert reasons["A/up/root/"] == "the source folder itself"
    assert reasons["A/up/far/B/"] == reasons["A/more/"] == files.same_folder("B/")


def test_folders_of_the_file_system_are_left_alone(tmp_path):
    touch(tmp_path, "a/1.mp4", "lost+found/2.mp4", "$RECYCLE.BIN/3.mp4", "a/@eaDir/4.mp4")
    catalog = folder.read(tmp_path)
    assert [v.name for v in catalog.videos] == ["a/1.mp4"]
    names = ["$RECYCLE.BIN/", "a/@eaDir/", "lost+found/"]
    assert catalog.left_alone == tuple((name, files.SYSTEM) for name in names)


def test_a_folder_that_cannot_be_listed_is_left_alone(tmp_path, monkeypatch):
    touch(tmp_path, "a/1.mp4", "b/2.mp4", "b/c/3.mp4")
    closed = {str(tmp_path / "b")}
    scandir = os.scandir

    def deny(path: str | Path):
        if str(path).rstrip("/") in closed:
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(files.os, "scandir", deny)
    catalog = folder.read(tmp_path)
    assert [v.name for v in catalog.videos] == ["a/1.mp4"]
    assert catalog.left_alone == (("b/", "cannot be listed: Permission denied"),)
    closed.add(str(tmp_path))
    with pytest.raises(BuilderError, match=r"Cannot list .*: Permission denied. Make it readable"):
        folder.read(tmp_path)


NFC, NFD = "caf\u00e9", "cafe\u0301"


def test_folder_splits_csv_in_another_unicode_form(tmp_path):
    touch(tmp_path, f"{NFD}/1_{NFD}.mp4", "a/2.mp4")
    table = tmp_path / "splits.csv"
    table.write_text(f"video,split\n{NFC}/1_{NFC}.mp4,test\na/2.mp4,train\n")
    splits = {v.name: (v.splits["1"], v.problem) for v in folder.read(tmp_path).videos}
    assert splits == {f"{NFD}/1_{NFD}.mp4": ("test", None), "a/2.mp4": ("train", None)}
    touch(tmp_path, f"{NFC}/1_{NFC}.mp4")  # now both are there, and the list names one of them
    with pytest.raises(BuilderError, match="says nothing of 1 of 3 videos"):
        folder.read(tmp_path)
    table.write_text(f"video,split\n{NFC}/1_{NFD}.mp4,test\na/2.mp4,train\n")
    with pytest.raises(BuilderError, match="and 2 files look like it"):
        folder.read(tmp_path)


def test_folders_that_look_the_same_are_one_class(tmp_path):
    touch(tmp_path, "jump/v_g01_c1.mp4", "jump /v_g01_c2.mp4", f"{NFC}/1.mp4", f"{NFD}/2.mp4")
    catalog = folder.read(tmp_path)
    assert len(catalog.classes) == 2
    groups = {v.group for v in catalog.videos if v.class_name == "jump"}
    assert groups == {"jump/g01"}


def test_folders_named_by_numbers_are_labelled_in_their_order(tmp_path):
    touch(tmp_path, *(f"{n}/v_g01_c1.mp4" for n in (0, 1, 2, 9, 10, 11)))
    catalog = folder.read(tmp_path)
    assert catalog.classes == ("0", "1", "2", "9", "10", "11")
    assert [catalog.label(v) for v in catalog.videos] == [0, 1, 4, 5, 2, 3]
    assert catalog.remarks[1].endswith(
        "label 0 for class 0, 1 for class 1, 2 for class 2, 3 for class 9, 4 for class 10, "
        "5 for class 11."
    )


def test_folder_says_how_many_groups_there_are(tmp_path):
    touch(tmp_path, *(f"{c}/p{i}.mp4" for c in "ab" for i in range(20)))
    (remark,) = folder.read(tmp_path).remarks
    assert remark.startswith("40 groups of 1 video: 40 of 40 files have no _gNN_ in their names")
    touch(tmp_path, "a/v_g01_c1.mp4", "a/v_g01_c2.mp4")
    (remark,) = folder.read(tmp_path).remarks
    assert remark.startswith("41 groups of 1 to 2 videos: 40 of 42 files have no _gNN_")
    touch(tmp_path / "named", "a/v_g01_c1.mp4", "a/v_g01_c2.mp4", "b/v_g01_c1.mp4", "b/x_g01_1.mp4")
    assert folder.read(tmp_path / "named").remarks == ("2 groups of 2 videos.",)


def test_folder_splits_csv(tmp_path):
    touch(tmp_path, "a/1.mp4", "a/2.mp4")
    table = tmp_path / "splits.csv"
    table.write_text("video,split,group\na/1.mp4,test,s1\na/2.mp4,train,s2\na/3.mp4,train,s2\n")
    catalog = folder.read(tmp_path)
    assert [(v.name, v.splits["1"], v.group, v.problem) for v in catalog.videos] == [
        ("a/1.mp4", "test", "s1", None),
        ("a/2.mp4", "train", "s2", None),
        ("a/3.mp4", "train", "s2", "missing"),
    ]
    table.write_text("video,split\na/1.mp4,test\n")
    with pytest.raises(
        BuilderError, match=r"says nothing of 1 of 2 videos, the first is 'a/2.mp4'"
    ):
        folder.read(tmp_path)
    table.write_text("video,split\na/1.mp4,test\na/2.mp4,dev\n")
    with pytest.raises(BuilderError, match="has the split 'dev'; allowed are train, val, test"):
        folder.read(tmp_path)
    table.write_text("video,split\na/1.mp4,test\na/1.mp4,train\na/2.mp4,train\n")
    with pytest.raises(BuilderError, match=r"names 'a/1.mp4' twice"):
        folder.read(tmp_path)
    table.write_bytes("video,split\nä,test\n".encode("latin-1"))
    with pytest.raises(BuilderError, match="is not in UTF-8"):
        folder.read(tmp_path)
    table.write_text("file,part\n")
    with pytest.raises(BuilderError, match="has the columns file, part"):
        folder.read(tmp_path)


@pytest.mark.parametrize("head", ["video,group", "video,split,group", "group,video"])
def test_folder_splits_csv_of_groups_alone(head, tmp_path):
    """The split is made from its groups; what it does not name has the group of its name."""
    names = [f"{c}/{i}.mp4" for c in "ab" for i in range(10)] + ["a/v_g01_1.mp4", "a/v_g01_2.mp4"]
    touch(tmp_path, *names)
    group_of = {name: f"take {name[2]}" for name in names if name[2] in "0123"}  # in both classes
    group_of["gone.mp4"] = "take 0"
    rows = [
        ",".join({"video": name, "group": group}.get(column, "") for column in head.split(","))
        for name, group in group_of.items()
    ]
    (tmp_path / "splits.csv").write_text("\n".join([head, *rows]))
    catalog = folder.read(tmp_path)
    assert {v.name: v.group for v in catalog.videos if v.name in group_of} == group_of
    others = {v.name: v.group for v in catalog.videos if v.name not in group_of}
    assert others == {name: folder.group_of(name, "a") for name in names if name not in group_of}
    assert [v.name for v in catalog.videos if v.problem == "missing"] == ["gone.mp4"]
    parts: dict[str, set[str]] = {}
    for video in catalog.videos:
        parts.setdefault(video.group, set()).add(video.splits["1"])
    assert all(len(part) == 1 for part in parts.values())
    assert {part for own in parts.values() for part in own} == {"train", "test"}
    assert catalog.remarks[0] == (
        f"{tmp_path / 'splits.csv'} gives groups of 9 of 23 videos and no split: 30 % of every "
        "class's groups are test. The 14 that it does not name are grouped by their names."
    )
    assert "12 of 23 files have no _gNN_" in catalog.remarks[1]  # those that are alone
    assert folder.gives_split(tmp_path / "splits.csv") is False


def test_groups_do_not_depend_on_the_file_that_gives_them_its_name(tmp_path):
    touch(tmp_path, "bend.avi", "bend_mirror.avi", "jack.avi", "jack_mirror.avi")
    rows = [f"{name}{end}.avi,{name}.avi" for name in ("bend", "jack") for end in ("", "_mirror")]
    (tmp_path / "splits.csv").write_text("\n".join(["video,group", *rows]))
    assert folder.read(tmp_path).remarks[1:] == ("2 groups of 2 videos.",)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("video\na/1.mp4\n", "has the columns video; it needs video and split, or video and gro"),
        ("video,group\na/1.mp4,x\na/1.mp4,y\n", "names 'a/1.mp4' twice"),
        ("video,split,group\na/1.mp4,test,x\na/2.mp4,,x\n", "has the split ''; allowed are train"),
        ("video,split\na/1.mp4,\na/2.mp4,\n", "has the split ''; allowed are train, val, test"),
        ("group\nx\n", "has the columns group; it needs video"),
    ],
)
def test_folder_splits_csv_that_says_neither(text, said, tmp_path):
    touch(tmp_path, "a/1.mp4", "a/2.mp4")
    (tmp_path / "splits.csv").write_text(text)
    with pytest.raises(BuilderError) as caught:
        folder.read(tmp_path)
    assert said in str(caught.value)


def test_shapes_is_laid_out_like_ucf101():
    clips = shapes.clips()
    assert len(clips) == 768
    assert clips[0].name == "ChecksBounce/v_ChecksBounce_g01_c01.avi"
    assert len({clip.class_name for clip in clips}) == 24
    siblings = [clip for clip in clips if (clip.class_name, clip.group) == ("DotsSpin", 3)]
    assert len({clip.outline for clip in siblings}) == 1


def test_shapes_clips_differ_in_motion_and_scene():
    def movement(programme: str) -> np.ndarray:
        return shapes.draw(shapes.DrawnClip("Dots", programme, 1, 1)).astype(np.int16)

    spin = movement("Spin")
    assert spin.shape[1:] == (120, 160, 3)
    assert 36 <= len(spin) <= 48
    assert np.abs(np.diff(spin, axis=0)).mean() > 3
    sibling = shapes.draw(shapes.DrawnClip("Dots", "Spin", 1, 2))
    stranger = shapes.draw(shapes.DrawnClip("Dots", "Spin", 2, 1))
    colour = spin.mean(axis=(0, 1, 2))
    assert np.abs(sibling.mean(axis=(0, 1, 2)) - colour).max() < 8
    assert np.abs(stranger.mean(axis=(0, 1, 2)) - colour).max() > 8


def test_shapes_drawing_is_the_same_every_time():
    clip = shapes.DrawnClip("Clouds", "Swing", 4, 2)
    assert (shapes.draw(clip) == shapes.draw(clip)).all()


def test_shapes_make_and_read(tmp_path, monkeypatch):
    few = [c for c in shapes.clips() if c.class_name == "DotsSpin" and c.group in (1, 6)]
    monkeypatch.setattr(shapes, "clips", lambda: few)
    with pytest.raises(BuilderError, match="holds no finished `shapes`"):
        shapes.read(tmp_path)
    shapes.make(tmp_path, workers=2)
    catalog = shapes.read(tmp_path)
    assert all(video.path.stat().st_size > 1000 for video in catalog.videos)
    assert catalog.videos[0].splits == {"1": "test", "2": "train", "3": "train"}
    assert catalog.videos[0].factors["programme"] == "Spin"
    times = [video.path.stat().st_mtime_ns for video in catalog.videos]
    shapes.make(tmp_path, workers=2)
    assert [video.path.stat().st_mtime_ns for video in catalog.videos] == times
    monkeypatch.setattr(shapes, "_VERSION", 999)
    shapes.make(tmp_path, workers=2)
    assert [video.path.stat().st_mtime_ns for video in catalog.videos] != times


def test_a_link_to_a_file_brings_no_video_under_a_second_class(tmp_path):
    root, store = tmp_path / "s", tmp_path / "store"
    for place in (root / "A", root / "B", store):
        place.mkdir(parents=True)
    (root / "B" / "own.mp4").touch()
    (root / "A" / "alias.mp4").symlink_to("../B/own.mp4")  # A comes first, but it is a link
    (store / "far.mp4").touch()
    (root / "A" / "far.mp4").symlink_to(store / "far.mp4")
    (root / "B" / "far.mp4").symlink_to(store / "far.mp4")
    catalog = folder.read(root)
    assert [v.name for v in catalog.videos] == ["A/far.mp4", "B/own.mp4"]
    assert dict(catalog.left_alone) == {
        "A/alias.mp4": "the same file as B/own.mp4, which is read",
        "B/far.mp4": "the same file as A/far.mp4, which is read",
    }
