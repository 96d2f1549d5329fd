from pathlib import Path

import pytest

from builder.catalog import kinetics, official_counts
from builder.catalog.all_datasets import READERS
from builder.catalog.source import Catalog
from tests.builder.catalog.trees import NFC, NFD, refusal, touch, write

A, B, C, D = "-_a00000001", "b_000012_00", "ccccccccc_-", "ddddddddddd"
HEAD = "label,youtube_id,time_start,time_end,split,is_cc"


def tree(root: Path, lists: dict[str, list[str]], *names: str) -> Path:
    touch(root, *names)
    for name, lines in lists.items():
        write(root / name, lines, "\r\n")
    return root


def rows(catalog: Catalog) -> list[tuple]:
    return [(v.name, v.class_name, v.group, v.splits["1"], v.problem) for v in catalog.videos]


def classes(catalog: Catalog) -> list[tuple[str, str | None]]:
    """Of the videos, all of which must be there."""
    assert {video.problem for video in catalog.videos} == {None}
    return [(video.name, video.class_name) for video in catalog.videos]


def error(root: Path, count: int = 400) -> str:
    return refusal(kinetics.read, root, count)


def test_lists_decide_and_absent_videos_are_missing(tmp_path):
    lists = {
        "annotations/kinetics_400_train.csv": [HEAD, f"yoga,{A},5,15,train,0"],
        "validate.csv": [
            "split,time_end,time_start,youtube_id,label",
            f"validate,20,10.0,{B},arm wrestling",
            f"validate,21,11,{C},yoga",
        ],
        "kinetics-400_test.csv": ["youtube_id,time_start,time_end,split", f"{D},1,11,test"],
    }
    names = [f"train_256/yoga/{A}_000005_000015.mp4", f"val/arm_wrestling/{B}_10_20.mkv"]
    names += [f"test/{D}.webm"]
    catalog = kinetics.read(tree(tmp_path, lists, *names), 400)
    assert rows(catalog) == [
        (names[0], "yoga", A, "train", None),
        (names[1], "arm wrestling", B, "val", None),
        (f"val/yoga/{C}_000011_000021.mp4", "yoga", C, "val", "missing"),
        (names[2], None, D, "test", None),
    ]
    assert catalog.dataset == "kinetics400"
    assert catalog.classes == ("arm wrestling", "yoga")
    assert [catalog.label(v) for v in catalog.videos] == [1, 0, 1, None]
    assert catalog.left_alone == ()


@pytest.mark.parametrize(
    ("list_file", "separator"), [("val.csv", ","), ("val.txt", ","), ("val.txt", "\t")]
)
def test_flat_folders(tmp_path, list_file, separator):
    lines = [line.replace(",", separator) for line in (HEAD, f"yoga,{A},5,15,val,0")]
    name = f"val/{A}_000005_000015.mp4"
    root = tree(tmp_path, {list_file: lines}, name)
    assert rows(kinetics.read(root, 700)) == [(name, "yoga", A, "val", None)]


@pytest.mark.parametrize(
    "place",
    ["val/{}.mp4", "val_256/{}.webm", "val/air_drumming/{}.mkv", "validate/air drumming/{}.mp4"],
)
@pytest.mark.parametrize("times", ["_000005_000015", "_5_15", ""])
def test_a_missing_video_has_the_name_that_it_has_when_it_comes(tmp_path, place, times):
    lists = {"val.csv": [HEAD, *(f"air drumming,{clip},5,15,val,0" for clip in (A, B))]}
    names = [place.format(f"{clip}{times}") for clip in (A, B)]
    before = kinetics.read(tree(tmp_path, lists, names[0]), 400)
    assert [(v.name, v.problem) for v in before.videos] == [(names[0], None), (names[1], "missing")]
    after = kinetics.read(tree(tmp_path, {}, names[1]), 400)
    assert [(v.name, v.problem) for v in after.videos] == [(name, None) for name in names]


@pytest.mark.parametrize(
    ("label", "folder"),
    [
        ("passing American football (not in game)", "passing_American_football_(not_in_game)"),
        ("passing American football (not in game)", "passing American football not in game"),
        ("massaging person's head", "massaging_person's_head"),
        ("using #1; [odd] & strange! names @+", "using_#1;_[odd]_&_strange!_names_@+"),
        (f"{NFC} work", f"{NFD}_work"),
        ("?", "?"),
    ],
)
def test_class_names_are_compared_by_letters_and_digits(label, folder, tmp_path):
    """Of two spellings in lists, the first counts."""
    lists = {
        "train.csv": [HEAD, f"{label},{A},5,15,train,0"],
        "val.csv": [HEAD, f"{folder},{B},5,15,val,0"],
    }
    names = [f"train/{label}/{A}.mp4", f"val/{folder}/{B}.mp4"]
    catalog = kinetics.read(tree(tmp_path, lists, *names), 400)
    assert classes(catalog) == [(name, label) for name in names]
    assert catalog.classes == (label,)


def test_what_is_left_alone(tmp_path):
    lists = {
        "train.csv": [HEAD, f"yoga,{A},5,15,train,0", f"yoga,{B},5,15,train,0"],
        "val.csv": [HEAD, f"yoga,{C},5,15,val,0", f"yoga,{D},1,11,val,0", f"run,{D},5,15,val,0"],
        "kinetics-600_val.csv": ["these are not read"],
        "classes.csv": ["nor these"],
    }
    names = [
        f"train/run/{A}_000005_000015.mp4",
        f"train/yoga/{A}.mp4",
        f"train/yoga/{A}_5_15.mp4",
        f"train/yoga/{B}_000006_000016.mp4",
        f"train/yoga/deep/{B}_000005_000015.mp4",
        f"train/yoga/{C}_000005_000015.mp4",
        f"val/yoga/{D}.mp4",
        "val/yoga/holiday.mp4",
        "val/yoga/notes.txt",
        f"other/{B}_000005_000015.mp4",
        f"val/yoga/{C}.mp4",
    ]
    catalog = kinetics.read(tree(tmp_path, lists, *names), 400)
    assert [v.name for v in catalog.videos if not v.problem] == [
        f"train/yoga/{A}_5_15.mp4",
        f"val/yoga/{C}.mp4",
    ]
    assert dict(catalog.left_alone) == {
        "classes.csv": kinetics._NO_LIST,
        "kinetics-600_val.csv": kinetics._NO_LIST,
        names[0]: "its folder is 'run', and its list says 'yoga'",
        names[1]: f"the same clip as {names[2]}",
        names[3]: "in no list",
        names[4]: kinetics._NO_PLACE,
        names[5]: "its folder is of train, and its list says val",
        names[6]: "its name has no times, and several clips have its id",
        names[7]: kinetics._NO_CLIP,
        names[8]: "its name has no video's ending",
        names[9]: kinetics._NO_PLACE,
    }
    assert len(catalog.left_alone) == 11


def test_a_clip_that_is_named_twice_counts_as_its_first_row_says(tmp_path):
    lists = {
        "val.csv": [HEAD, f"run,{A},5,15,val,0"],
        "train.csv": [
            HEAD,
            f"yoga,{A},5,15,train,0",
            f"yoga,{A},5,15,train,1",
            f"run,{A},5,15,train,0",
        ],
    }
    catalog = kinetics.read(tree(tmp_path, lists, f"train/yoga/{A}.mp4"), 400)
    assert rows(catalog) == [(f"train/yoga/{A}.mp4", "yoga", A, "train", None)]
    told = f"names {A} 5-15 as run in %s, and an earlier row as yoga in train"
    assert catalog.left_alone == (
        ("train.csv, line 4", told % "train"),
        ("val.csv, line 2", told % "val"),
    )


def test_without_lists_the_folders_decide(tmp_path):
    names = [
        f"train/arm wrestling/{A}_000005_000015.mp4",
        f"train_256/arm wrestling/{A}_000005_000015.mp4",
        f"val/arm_wrestling/{B}.mp4",
        "val/yoga/#;[(&!@+.avi",
    ]
    catalog = kinetics.read(tree(tmp_path, {}, *names), 400)
    assert rows(catalog) == [
        (names[0], "arm wrestling", A, "train", None),
        (names[3], "yoga", names[3], "val", "name not understood"),
        (names[2], "arm wrestling", B, "val", None),
    ]
    assert catalog.left_alone == ((names[1], f"the same clip as {names[0]}"),)


@pytest.mark.parametrize("name", [f"train/{B}.mp4", f"yoga/{B}.mp4", f"{B}.mp4"])
def test_without_lists_folders_must_say_part_and_class(name, tmp_path):
    root = tree(tmp_path, {}, f"train/yoga/{A}.mp4", name)
    said = error(root, 600)
    assert f"1 videos are not in <part>/<class>/, the first is '{name}'" in said
    assert "Put the official train.csv, val.csv" in said


def test_no_videos(tmp_path):
    assert "There is no folder" in error(tmp_path / "absent")
    assert "No Kinetics-600 video below" in error(tmp_path, 600)
    lists = {"val.csv": [HEAD, f"yoga,{A},5,15,val,0"]}
    assert "No Kinetics-400 video below" in error(tree(tmp_path, lists))
    assert "(1 others, x.mp4: not in <part>/ or" in error(tree(tmp_path, lists, "x.mp4"))


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([f"val/{A}.mp4 3"], "it needs youtube_id,time_start,time_end"),
        ([HEAD, f"yoga,{A},5,15"], "val.csv, line 2: 4 cells, and the head has 6"),
        ([HEAD, f"yoga,{A},5.5,15,val,0"], "line 2: '5.5' is no whole number of seconds"),
        ([HEAD, f"yoga,{A},,15,val,0"], "line 2: '' is no whole number of seconds"),
        ([HEAD, f"yoga,{A},5,15,dev,0"], "line 2: the split is 'dev'; allowed are train, val"),
        ([HEAD, "yoga,,5,15,val,0"], "line 2: the youtube_id is empty"),
        ([f"yoga,{A},5,15", "yoga,half"], "line 2: there is no id with a start and an end"),
    ],
)
def test_lists_that_are_refused(rows, said, tmp_path):
    assert said in error(tree(tmp_path, {"val.csv": rows}, f"val/yoga/{A}.mp4"))


def test_lists_of_another_kinetics(tmp_path):
    clips = [f"class {i},{i:011d},5,15,val,0" for i in range(401)]
    root = tree(tmp_path, {"val.csv": [HEAD, *clips]}, f"val/class_0/{0:011d}.mp4")
    assert "has 401 classes, and Kinetics-400 has 400" in error(root)
    assert len(READERS["kinetics600"](root).classes) == 401
    assert READERS["kinetics700"](root).dataset == "kinetics700"


def test_kinetics_600_as_its_scripts_lay_it_down(tmp_path):
    """annotations/ with train.txt, val.txt, test.csv and the held-out test, flat folders."""
    lists = {
        "annotations/train.txt": [f"abseiling,{A},5,15,train", f"air drumming,{B},1,11,train"],
        "annotations/val.txt": [f"air drumming,{C},2,12,val"],
        "annotations/test.csv": [
            "youtube_id,time_start,time_end,split",
            f"{D},3,13,test",
            "eeeeeeeeeee,4,14,test",
        ],
        "annotations/kinetics600_holdout_test.csv": [
            "label,youtube_id,time_start,time_end,split",
            "yoga,eeeeeeeeeee,4,14,holdout_test",
        ],
        "annotations/k600_train_path.txt": ["https://example.org/k600/train/abseiling.tar.gz"],
    }
    names = [f"train/{A}_000005_000015.mp4", f"train/{B}_000001_000011.mp4"]
    names += [f"val/{C}_000002_000012.mp4", f"test/{D}_000003_000013.mp4", "readme.md"]
    catalog = kinetics.read(tree(tmp_path, lists, *names), 600)
    assert rows(catalog) == [
        (names[0], "abseiling", A, "train", None),
        (names[1], "air drumming", B, "train", None),
        (names[2], "air drumming", C, "val", None),
        ("test/eeeeeeeeeee_000004_000014.mp4", "yoga", "eeeeeeeeeee", "test", "missing"),
        (names[3], None, D, "test", None),
    ]
    assert {name for name, _ in catalog.left_alone} == {
        "annotations/k600_train_path.txt",
        "readme.md",
    }


@pytest.mark.parametrize(
    "line",
    [
        "arm wrestling,{id},10,20,val",
        '"arm wrestling",{id},10.0,20.0,validate,0',
        "arm wrestling\t{id}\t000010\t000020",
        "{id},10,20,arm wrestling",
        "{id}\t10\t20\tarm wrestling\tval",
        "{id} 10 20 arm wrestling",
        "{id},10,20,val,arm wrestling",
        "arm wrestling {id} 10 20",
        "val/arm wrestling/{id}_000010_000020.mp4",
        "arm wrestling/{id}_000010_000020",
        "arm_wrestling/{id}_000010_000020.mp4 7",
        "{id}_000010_000020.mp4 arm wrestling",
        "{id}_000010_000020,arm wrestling",
        "arm wrestling,{id}_000010_000020",
    ],
)
def test_lists_without_a_head(line, tmp_path):
    lines = [line.format(id=clip) for clip in (A, B)]
    root = tree(tmp_path, {"annotations/val.txt": ["", *lines]}, f"val/{A}_000010_000020.mp4")
    videos = kinetics.read(root, 600).videos
    assert [(v.group, v.problem) for v in videos] == [(A, None), (B, "missing")]
    assert [kinetics.letters(v.class_name or "") for v in videos] == 2 * ["armwrestling"]


def test_an_incomplete_csv_beside_the_whole_txt(tmp_path):
    lists = {
        "annotations/train.csv": [HEAD, f"yoga,{A},5,15,train,0"],
        "annotations/train.txt": [f"yoga,{A},5,15,train", f"yoga,{B},5,15,train"],
    }
    names = [f"train/{clip}_000005_000015.mp4" for clip in (A, B)]
    catalog = kinetics.read(tree(tmp_path, lists, *names), 600)
    assert [(v.name, v.problem) for v in catalog.videos] == [(name, None) for name in names]
    assert catalog.left_alone == ()


@pytest.mark.parametrize("part", ["train", "val_256"])
def test_a_part_of_which_no_list_speaks_is_an_error(part, tmp_path):
    lists = {"annotations/test.csv": ["youtube_id,time_start,time_end", f"{D},3,13"]}
    names = [f"{part}/{A}_5_15.mp4", f"{part}/yoga/{B}_5_15.mp4", f"test/{D}_3_13.mp4"]
    said = error(tree(tmp_path, lists, *names), 600)
    part = part.removesuffix("_256")
    assert f"holds 2 videos of {part}, the first is '{names[0]}', and no list speaks of" in said
    assert f"Put the official {part}.csv or {part}.txt into" in said


@pytest.mark.parametrize("text", ["", "some words", "abseiling 12", "https://example.org/a.tar.gz"])
def test_a_list_that_is_none_is_named(text, tmp_path):
    lists = {"val.csv": [HEAD, f"yoga,{C},5,15,val,0"], "train.txt": [text]}
    root = tree(tmp_path, lists, f"val/{C}_5_15.mp4")
    ((name, reason),) = kinetics.read(root, 600).left_alone
    assert name == "train.txt" and (repr(text) if text else "empty") in reason
    tree(tmp_path, {}, f"train/{A}_5_15.mp4")
    said = error(root, 600)
    assert f"no list speaks of train. {root / 'train.txt'} is not read: {reason}" in said


def test_a_part_of_which_nothing_fits_its_list_is_an_error(tmp_path):
    lists = {
        "train.csv": [HEAD, f"yoga,{A},5,15,train,0"],
        "val.csv": [HEAD, f"yoga,{B},5,15,val,0"],
    }
    names = [f"train/{A}.mp4", f"val/{C}_5_15.mp4", f"val/{D}_5_15.mp4"]
    said = error(tree(tmp_path, lists, *names), 700)
    assert "2 videos of val" in said
    assert "none of them is a clip of its list; 2 are so: in no" in said


def test_a_folder_that_is_no_class_says_nothing(tmp_path):
    lists = {"test.csv": [HEAD, f"yoga,{A},5,15,test,0", f"run,{B},5,15,test,0"]}
    names = [f"test/part_0/{A}_5_15.mp4", f"test/run/{B}_5_15.mp4"]
    catalog = kinetics.read(tree(tmp_path, lists, *names), 600)
    assert classes(catalog) == [(names[0], "yoga"), (names[1], "run")]


@pytest.mark.parametrize("folder", ["replacement/replacement_for_corrupted_k400", "replacement"])
def test_replacements_take_the_place_of_damaged_clips(folder, tmp_path):
    lists = {"annotations/train.csv": [HEAD, *(f"yoga,{clip},5,15,train,0" for clip in (A, B, C))]}
    names = [f"train/{clip}_000005_000015.mp4" for clip in (A, B)]
    instead = [f"{folder}/{B}_000005_000015.mp4", f"{folder}/{C}.mp4", f"{folder}/{D}.mp4"]
    catalog = kinetics.read(tree(tmp_path, lists, *names, *instead), 400)
    assert rows(catalog) == [
        (names[0], "yoga", A, "train", None),
        (instead[0], "yoga", B, "train", None),
        (instead[1], "yoga", C, "train", None),
    ]
    assert dict(catalog.left_alone) == {
        names[1]: f"the same clip as {instead[0]}",
        instead[2]: "in no list",
    }


def test_replacements_without_lists(tmp_path):
    names = [f"train/yoga/{A}_5_15.mp4", f"train/yoga/{B}_5_15.mp4"]
    instead = [f"replacement/x/{B}_5_15.mp4", f"replacement/x/{C}_5_15.mp4"]
    catalog = kinetics.read(tree(tmp_path, {}, *names, *instead), 400)
    assert classes(catalog) == [(names[0], "yoga"), (instead[0], "yoga")]
    assert dict(catalog.left_alone) == {
        names[1]: f"the same clip as {instead[0]}",
        instead[1]: kinetics._NO_PART,
    }


def test_a_tree_that_is_not_whole_is_said(tmp_path):
    names = [f"val/yoga/{A}.mp4", f"val/juggling_plates/{B}.mp4"]
    first, second = kinetics.read(tree(tmp_path, {}, *names), 400).remarks
    assert "Kinetics-400, which has 400 classes of at least 400 clips each; it is 2 videos" in first
    assert first.endswith("2 classes. Of these, 1 is not among its classes: juggling_plates.")
    assert second.startswith("There is no official list, so clips that are missing are not counted")
    lists = {"val.csv": [HEAD, f"yoga,{A},5,15,val,0", f"yoga,{C},5,15,val,0"]}
    (remark,) = kinetics.read(tree(tmp_path, lists), 400).remarks
    assert remark.endswith("it is 2 videos of 1 classes.")


@pytest.mark.parametrize("count", [400, 600, 700])
def test_classes_that_are_known(count):
    known = official_counts.kinetics(count)
    assert len(known) == len({kinetics.letters(name) for name in known}) == count


def test_a_whole_tree_is_no_remark():
    known = sorted(official_counts.kinetics(400))
    assert kinetics._remarks(400, 240_000, known, has_lists=True) == ()
    assert kinetics._remarks(600, 390_000, known, has_lists=True) != ()


def test_folders_of_another_data_set(tmp_path):
    names = [f"val/Biking/{A}.mp4", f"val/Diving/{B}.mp4"]
    said = error(tree(tmp_path, {}, *names), 700)
    assert "None of the 2 classes" in said and "is one of Kinetics-700: Biking, Diving." in said


@pytest.mark.parametrize("folder", ["kinetics700", "kinetics700_2020", "Kinetics-700"])
def test_lists_as_the_archive_unpacks_them(folder, tmp_path):
    lists = {
        f"{folder}/train.csv": [HEAD, f"yoga,{A},5,15,train,0"],
        f"{folder}/train.json": ["{}"],
    }
    root = tree(tmp_path, lists, f"train/{A}_000005_000015.mp4")
    catalog = kinetics.read(root, 700)
    assert rows(catalog)[0][1:] == ("yoga", A, "train", None)
    assert dict(catalog.left_alone) == {f"{folder}/train.json": NOT_READ}
    assert f"{root} has no list of Kinetics-400" in error(root, 400)  # it is of another data set


@pytest.mark.parametrize(
    "name", ["train.csv.gz", "annotations/train.JSON", "kinetics400/train.json"]
)
def test_a_list_in_a_form_that_is_not_read_is_named(name, tmp_path):
    root = tree(tmp_path, {name: ["x"]}, f"train/{A}_000005_000015.mp4")
    assert f"{root / name} is not read: {NOT_READ}. Put the official train.csv" in error(root, 400)
    (root / "val.csv").write_text(f"{HEAD}\nyoga,{B},5,15,val,0\n")
    assert f"no list speaks of train. {root / name} is not read: {NOT_READ}. " in error(root, 400)


NOT_READ = "lists are read as .csv or .txt; unpack or convert it"
