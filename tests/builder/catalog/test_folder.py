import os
from pathlib import Path

import pytest

from builder.catalog import files, folder
from tests.builder.catalog.trees import NFC, NFD, parts_of_groups, refusal, there, touch, write


def test_there_is_nothing(tmp_path):
    said = refusal(folder.read, tmp_path / "absent")
    assert "There is no folder" in said and "--source" in said
    touch(tmp_path, "a/readme.txt")
    assert "No video" in refusal(folder.read, tmp_path)


def test_the_split_parts_no_group_and_covers_every_class(tmp_path):
    names = [f"{c}/v_{c}_g{g:02d}_c{i}.mp4" for c in "ab" for g in range(1, 11) for i in range(3)]
    touch(tmp_path, *names)
    catalog = folder.read(tmp_path)
    assert catalog.classes == ("a", "b")
    parts = parts_of_groups(catalog)
    assert len(parts) == 20
    assert sorted(group[0] for group, part in parts.items() if part == "test") == [*"aaabbb"]
    assert folder.read(tmp_path) == catalog


def test_without_classes(tmp_path):
    touch(tmp_path, "one.mp4", "two.MKV", ".hidden.mp4", "notes.txt")
    catalog = folder.read(tmp_path)
    assert [v.name for v in catalog.videos] == ["one.mp4", "two.MKV"]
    assert {v.class_name for v in catalog.videos} == {None}
    assert {v.splits["1"] for v in catalog.videos} == {"train", "test"}
    assert catalog.left_alone == (
        (".hidden.mp4", files.HIDDEN),
        ("notes.txt", files.NO_VIDEO_NAME),
    )


def test_odd_names(tmp_path):
    names = ["a/#1;[(&!@+.avi", "a/*?{x}\\.avi", "a/-dash.avi", "a/x.y.z.avi", "ü/日本.avi"]
    touch(tmp_path, *names)
    assert [v.name for v in folder.read(tmp_path).videos] == sorted(names)


def link(path: Path, target: str | Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)


def classes_of(root: Path) -> dict[str, str | None]:
    return {v.name: v.class_name for v in folder.read(root).videos}


def test_linked_folders_are_followed_once(tmp_path):
    touch(tmp_path, "real/a/1.mp4")
    root = tmp_path / "root"
    link(root / "a", tmp_path / "real" / "a")
    link(tmp_path / "real" / "a" / "loop", tmp_path / "real" / "a")
    link(root / "gone.mp4", tmp_path / "gone.mp4")
    link(root / "self.mp4", root / "self.mp4")
    os.mkfifo(root / "pipe.mp4")
    catalog = folder.read(root)
    assert [v.name for v in catalog.videos] == ["a/1.mp4"]
    assert catalog.left_alone == (
        ("a/loop/", files.same_folder("a/")),
        ("gone.mp4", files.NO_FILE),
        ("pipe.mp4", files.NO_FILE),
        ("self.mp4", files.NO_FILE),
    )


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


def test_a_link_to_a_file_brings_no_video_under_a_second_class(tmp_path):
    root = tmp_path / "s"
    touch(tmp_path, "s/B/own.mp4", "store/far.mp4")
    link(root / "A" / "alias.mp4", "../B/own.mp4")  # A comes first, but it is a link
    link(root / "A" / "far.mp4", tmp_path / "store" / "far.mp4")
    link(root / "B" / "far.mp4", tmp_path / "store" / "far.mp4")
    assert list(classes_of(root)) == ["A/far.mp4", "B/own.mp4"]
    assert dict(folder.read(root).left_alone) == {
        "A/alias.mp4": "the same file as B/own.mp4, which is read",
        "B/far.mp4": "the same file as A/far.mp4, which is read",
    }


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
    said = refusal(folder.read, tmp_path)
    assert f"Cannot list {tmp_path}: Permission denied. Make it readable" in said


def test_folders_that_look_the_same_are_one_class(tmp_path):
    touch(tmp_path, "jump/v_g01_c1.mp4", "jump /v_g01_c2.mp4", f"{NFC}/1.mp4", f"{NFD}/2.mp4")
    catalog = folder.read(tmp_path)
    assert len(catalog.classes) == 2
    assert {v.group for v in catalog.videos if v.class_name == "jump"} == {"jump/g01"}


def test_folders_named_by_numbers_are_labelled_in_their_order(tmp_path):
    touch(tmp_path, *(f"{n}/v_g01_c1.mp4" for n in (0, 1, 2, 9, 10, 11)))
    catalog = folder.read(tmp_path)
    assert catalog.classes == ("0", "1", "2", "9", "10", "11")
    assert [catalog.label(v) for v in catalog.videos] == [0, 1, 4, 5, 2, 3]
    assert catalog.remarks[1].endswith(
        "label 0 for class 0, 1 for class 1, 2 for class 2, 3 for class 9, 4 for class 10, "
        "5 for class 11."
    )


def test_how_many_groups_there_are_is_said(tmp_path):
    touch(tmp_path, *(f"{c}/p{i}.mp4" for c in "ab" for i in range(20)))
    (remark,) = folder.read(tmp_path).remarks
    assert remark.startswith("40 groups of 1 video: 40 of 40 files have no _gNN_ in their names")
    touch(tmp_path, "a/v_g01_c1.mp4", "a/v_g01_c2.mp4")
    (remark,) = folder.read(tmp_path).remarks
    assert remark.startswith("41 groups of 1 to 2 videos: 40 of 42 files have no _gNN_")
    touch(tmp_path / "named", "a/v_g01_c1.mp4", "a/v_g01_c2.mp4", "b/v_g01_c1.mp4", "b/x_g01_1.mp4")
    assert folder.read(tmp_path / "named").remarks == ("2 groups of 2 videos.",)


def with_table(root: Path, lines: list[str], *names: str) -> Path:
    touch(root, *names)
    write(root / "splits.csv", lines)
    return root


def test_splits_csv(tmp_path):
    rows = ["video,split,group", "a/1.mp4,test,s1", "a/2.mp4,train,s2", "a/3.mp4,train,s2"]
    catalog = folder.read(with_table(tmp_path, rows, "a/1.mp4", "a/2.mp4"))
    assert [(v.name, v.splits["1"], v.group, v.problem) for v in catalog.videos] == [
        ("a/1.mp4", "test", "s1", None),
        ("a/2.mp4", "train", "s2", None),
        ("a/3.mp4", "train", "s2", "missing"),
    ]


def test_an_unused_video_is_in_no_part(tmp_path):
    rows = ["video,split", "a/1.mp4,test", "a/2.mp4,unused"]
    catalog = folder.read(with_table(tmp_path, rows, "a/1.mp4", "a/2.mp4"))
    assert [v.splits for v in catalog.videos] == [{"1": "test"}, {}]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("video,split a/1.mp4,test", "says nothing of 1 of 2 videos, the first is 'a/2.mp4'"),
        ("video,split a/1.mp4,test a/2.mp4,dev", "the split 'dev'; allowed are train, val, test"),
        ("video,split a/1.mp4,test a/1.mp4,train a/2.mp4,train", "names 'a/1.mp4' twice"),
        ("video,group a/1.mp4,x a/1.mp4,y", "names 'a/1.mp4' twice"),
        ("file,part", "has the columns file, part"),
        ("group x", "has the columns group; it needs video"),
        ("video a/1.mp4", "has the columns video; it needs video and split, or video and group"),
        ("video,split,group a/1.mp4,test,x a/2.mp4,,x", "has the split ''; allowed are train"),
        ("video,split a/1.mp4, a/2.mp4,", "has the split ''; allowed are train, val, test"),
    ],
)
def test_splits_csv_that_is_refused(rows, said, tmp_path):
    root = with_table(tmp_path, rows.split(" "), "a/1.mp4", "a/2.mp4")
    assert said in refusal(folder.read, root)


def test_splits_csv_is_text(tmp_path):
    touch(tmp_path, "a/1.mp4")
    (tmp_path / "splits.csv").write_bytes("video,split\nä,test\n".encode("latin-1"))
    assert "is not in UTF-8" in refusal(folder.read, tmp_path)


def test_splits_csv_in_another_unicode_form(tmp_path):
    rows = ["video,split", f"{NFC}/1_{NFC}.mp4,test", "a/2.mp4,train"]
    root = with_table(tmp_path, rows, f"{NFD}/1_{NFD}.mp4", "a/2.mp4")
    assert {v.name: v.splits["1"] for v in there(folder.read(root))} == {
        f"{NFD}/1_{NFD}.mp4": "test",
        "a/2.mp4": "train",
    }
    touch(root, f"{NFC}/1_{NFC}.mp4")  # now both are there, and the list names one of them
    assert "says nothing of 1 of 3 videos" in refusal(folder.read, root)
    rows[1] = f"{NFC}/1_{NFD}.mp4,test"
    assert "and 2 files look like it" in refusal(folder.read, with_table(root, rows))


@pytest.mark.parametrize("head", ["video,group", "video,split,group", "group,video"])
def test_splits_csv_of_groups_alone(head, tmp_path):
    """The split is made from its groups; what it does not name has the group of its name."""
    names = [f"{c}/{i}.mp4" for c in "ab" for i in range(10)] + ["a/v_g01_1.mp4", "a/v_g01_2.mp4"]
    group_of = {name: f"take {name[2]}" for name in names if name[2] in "0123"}  # in both classes
    group_of["gone.mp4"] = "take 0"
    rows = [
        ",".join({"video": name, "group": group}.get(column, "") for column in head.split(","))
        for name, group in group_of.items()
    ]
    catalog = folder.read(with_table(tmp_path, [head, *rows], *names))
    expected = {name: folder.group_of(name, "a") for name in names} | group_of
    assert {v.name: v.group for v in catalog.videos} == expected
    assert [v.name for v in catalog.videos if v.problem == "missing"] == ["gone.mp4"]
    assert set(parts_of_groups(catalog).values()) == {"train", "test"}
    assert catalog.remarks[0] == (
        f"{tmp_path / 'splits.csv'} gives groups of 9 of 23 videos and no split: 30 % of every "
        "class's groups are test. The 14 that it does not name are grouped by their names."
    )
    assert "12 of 23 files have no _gNN_" in catalog.remarks[1]  # those that are alone
    assert folder.gives_split(tmp_path / "splits.csv") is False


def test_groups_do_not_depend_on_the_file_that_gives_them_its_name(tmp_path):
    rows = [f"{name}{end}.avi,{name}.avi" for name in ("bend", "jack") for end in ("", "_mirror")]
    root = with_table(tmp_path, ["video,group", *rows], *(row.split(",")[0] for row in rows))
    assert folder.read(root).remarks[1:] == ("2 groups of 2 videos.",)
