from pathlib import Path

import pytest

from builder.catalog import table
from tests.builder.catalog.trees import NFC, NFD, parts_of_groups, refusal, touch

ODD = "a/#1;[(&!@+ -.avi"


def write(folder: Path, text: str, *names: str) -> Path:
    folder.mkdir(exist_ok=True)
    touch(folder, *names)
    path = folder / "videos.csv"
    path.write_bytes(text.encode())
    return path


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_columns_in_any_order(mark, end, tmp_path):
    outside = tmp_path / "outside" / "x.mp4"
    touch(outside.parent, outside.name)
    rows = [
        "split,path,group,label",
        f"train,{ODD},r1,run",
        f"test,{outside},r2,walk",
        'val,"a/b,c\u2028.mp4",r3,',
        "train,gone.mp4,,run",
        ",,,",
        "",
    ]
    text = mark + end.join(rows)
    path = write(tmp_path / "in", text, ODD, "a/b,c\u2028.mp4")
    catalog = table.read(path)
    assert [(v.name, v.class_name, v.group, v.splits, v.problem) for v in catalog.videos] == [
        (ODD, "run", "r1", {"1": "train"}, None),
        (str(outside), "walk", "r2", {"1": "test"}, None),
        ("a/b,c\u2028.mp4", None, "r3", {"1": "val"}, None),
        ("gone.mp4", "run", "gone.mp4", {"1": "train"}, "missing"),
    ]
    assert catalog.classes == ("run", "walk")
    assert [catalog.label(v) for v in catalog.videos] == [0, 1, None, 0]
    assert [v.path for v in catalog.videos][:2] == [tmp_path / "in" / ODD, outside]
    assert catalog.dataset == "csv"


@pytest.mark.parametrize("head", ["path,label", "path,label,split"])
def test_without_splits_30_per_cent_of_the_groups_of_each_label_are_test(head, tmp_path):
    names = [f"{c}/v_g{g:02d}_c{i}.mp4" for c in "ab" for g in range(10) for i in range(2)]
    rows = [f"{name},{name[0]}{',' * (head.count(',') - 1)}" for name in names]
    parts = parts_of_groups(table.read(write(tmp_path, "\n".join([head, *rows]), *names)))
    assert len(parts) == 20
    assert sorted(group[0] for group, part in parts.items() if part == "test") == [*"aaabbb"]


def test_groups_in_names(tmp_path):
    text = "path,label\nx/a_g01_1.mp4,a\ny/a_g01_2.mp4,a\nx/b_g01_1.mp4,b\nx/c_g01_1.mp4,\n"
    catalog = table.read(write(tmp_path, text, "x/a_g01_1.mp4"))
    assert [v.group for v in catalog.videos] == ["a/g01", "a/g01", "b/g01", "x/g01"]


def test_paths_alone(tmp_path):
    catalog = table.read(write(tmp_path, "path\n1.mp4\n2.mp4\n", "1.mp4", "2.mp4"))
    assert (catalog.classes, {v.class_name for v in catalog.videos}) == ((), {None})
    assert {v.splits["1"] for v in catalog.videos} == {"train", "test"}


def test_labels_that_are_numbers_are_in_the_order_of_numbers(tmp_path):
    numbers = (10, 2, 0, 11, 9, 1)
    text = "path,label\n" + "".join(f"{n}.mp4,{n}\n" for n in numbers)
    catalog = table.read(write(tmp_path, text, "0.mp4"))
    assert catalog.classes == ("0", "1", "2", "9", "10", "11")
    assert {v.class_name: catalog.label(v) for v in catalog.videos}["10"] == 4
    assert "3 for class 9, 4 for class 10" in catalog.remarks[1]
    catalog = table.read(write(tmp_path, "path,label\n0.mp4,1\n1.mp4,0\n"))
    assert catalog.remarks[1] == "Label N stands for class N, from 0 to 1."
    catalog = table.read(write(tmp_path, "path,label\n0.mp4,10\n1.mp4,9\n2.mp4,x9\n"))
    assert catalog.classes == ("10", "9", "x9") and len(catalog.remarks) == 1
    catalog = table.read(write(tmp_path, "path,label\n0.mp4,10.0\n1.mp4,1.0\n2.mp4,2.0\n"))
    assert catalog.classes == ("1.0", "2.0", "10.0")
    assert "label 0 for class 1.0, 1 for class 2.0, 2 for class 10.0" in catalog.remarks[1]


def test_an_unused_video_is_in_no_part(tmp_path):
    text = "path,split\n1.mp4,train\n2.mp4,unused\n"
    catalog = table.read(write(tmp_path, text, "1.mp4", "2.mp4"))
    assert [v.splits for v in catalog.videos] == [{"1": "train"}, {}]
    all_unused = table.read(write(tmp_path, text.replace("train", "unused")))
    assert [v.splits for v in all_unused.videos] == [{}, {}]


def test_spaces_around_cells_make_no_class_group_or_split(tmp_path):
    rows = [
        "path,label,group,split",
        "1.mp4,jump,r1,train",
        "2.mp4, jump\t,r1 ,train ",
        "3.mp4,,,test",
    ]
    catalog = table.read(write(tmp_path, "\n".join(rows), "1.mp4"))
    assert catalog.classes == ("jump",)
    assert [(v.class_name, v.group, v.splits["1"]) for v in catalog.videos] == [
        ("jump", "r1", "train"),
        ("jump", "r1", "train"),
        (None, "3.mp4", "test"),
    ]


@pytest.mark.parametrize(("listed", "there"), [(NFC, NFD), (NFD, NFC)])
def test_a_path_in_another_unicode_form(listed, there, tmp_path):
    text = f"path,label\n{listed}/x {listed}.mp4,{NFC}\n1.mp4,{NFD}\n"
    catalog = table.read(write(tmp_path, text, f"{there}/x {there}.mp4", "1.mp4"))
    assert [(v.path, v.problem) for v in catalog.videos] == [
        (tmp_path / there / f"x {there}.mp4", None),
        (tmp_path / "1.mp4", None),
    ]
    assert catalog.videos[0].name == f"{listed}/x {listed}.mp4"
    assert catalog.classes == (NFC,)


def test_a_path_that_looks_like_two_files(tmp_path):
    names = f"{NFC} {NFC}.mp4", f"{NFD} {NFD}.mp4"
    catalog = table.read(write(tmp_path, "path\n" + "\n".join(names), *names))
    assert [v.path.name for v in catalog.videos] == list(names)  # each as it is written
    said = refusal(table.read, write(tmp_path, f"path\n{NFC} {NFD}.mp4\n"))
    assert "line 2: " in said and " and 2 files look like it" in said
    (tmp_path / names[1]).unlink()
    said = refusal(table.read, write(tmp_path, "path\n" + "\n".join(names)))
    assert "line 3: " in said and " is the video of line 2 again" in said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has the columns (none); it needs path and may have label,group,split"),
        ("video,label\n", "has the columns video, label; it needs path"),
        ("path;label\n1.mp4;a\n", "has the columns path;label; it needs path"),
        ("path,path\n", "has the columns path, path; it needs path"),
        ("path,class,fold\n", "unknown columns: 'class', 'fold'; allowed are path, label, group"),
        ("path\n", "names no video"),
        ("path,label\n1.mp4,a\n,b\n", "line 3: the path is empty"),
        ("path,label\n1.mp4,a\n2.mp4\n", "line 3: 1 cells, and the head has 2"),
        ("path,label\n1.mp4,a\n./1.mp4,b\n", "line 3: './1.mp4' is the video of line 2 again"),
        ("path,split\n1.mp4,dev\n", "the split is 'dev'; allowed are train, val, test, unused, or"),
        ("path,split\n1.mp4,test\n2.mp4,\n3.mp4,\n", "line 3: the split is empty, as in 2 of 3"),
        ("path\n2.mp4\n3.mp4\n", "None of the 2 videos in"),
        ("path,label\n1.mp4," + 200_000 * "x", "line 2, is no CSV: field larger"),
    ],
)
def test_tables_that_are_refused(text, said, tmp_path):
    assert said in refusal(table.read, write(tmp_path, text, "1.mp4"))


def test_not_a_csv_file(tmp_path):
    needed = "the data set `csv` needs a CSV file"
    assert f"is a folder, and {needed}" in refusal(table.read, tmp_path)
    assert f"is not there; {needed}" in refusal(table.read, tmp_path / "videos.csv")
    (tmp_path / "latin.csv").write_bytes("path\nä.mp4\n".encode("latin-1"))
    assert "is not in UTF-8" in refusal(table.read, tmp_path / "latin.csv")


def test_a_name_that_the_disk_refuses_is_missing(tmp_path):
    text = f"path\n1.mp4\n{'x' * 300}.mp4\n"
    catalog = table.read(write(tmp_path, text, "1.mp4"))
    assert [v.problem for v in catalog.videos] == [None, "missing"]
