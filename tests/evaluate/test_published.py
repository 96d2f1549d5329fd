import pytest

from evaluate.published import (
    _ROWS,
    _WHOLE,
    PUBLISHED_TASKS,
    PublishedFigures,
    lacks,
    published,
    text_rows,
)

DATASETS = ("ucf101", "hmdb51", "kinetics400", "kinetics600")


def test_rows_are_of_the_task_and_the_data_set():
    rows = published("retrieval", "ucf101")
    assert rows and all((r.task, r.dataset) == ("retrieval", "ucf101") for r in rows)
    assert published("retrieval", "shapes") == published("knn", "ucf101") == ()


@pytest.mark.parametrize("task", PUBLISHED_TASKS)
@pytest.mark.parametrize("dataset", DATASETS)
def test_every_row_has_a_source_and_percents(task: str, dataset: str):
    for row in published(task, dataset):
        assert row.method and row.source and row.figures
        assert all(0 < value < 100 for value in row.figures.values())
        recall = [row.figures[name] for name in row.figures if name.startswith("recall@")]
        assert recall == sorted(recall)


def test_no_row_is_there_twice():
    rows = [row for task in PUBLISHED_TASKS for name in DATASETS for row in published(task, name)]
    keys = [(r.method, r.backbone, r.pretraining, r.task, r.dataset) for r in rows]
    assert len(keys) == len(set(keys))


def test_what_nobody_could_verify_is_not_there():
    methods = {row.method for row in published("retrieval", "ucf101")}
    assert "ASCNet" not in methods
    assert not any("wizwand" in row.source for row in published("finetune", "ucf101"))


def test_a_source_says_where_the_figure_was_read():
    of = {
        (row.method, row.backbone, row.dataset, row.task): row.origin
        for task in ("finetune", "retrieval")
        for name in DATASETS
        for row in published(task, name)
    }
    copied = [origin for key, origin in of.items() if key[0] == "ASCNet"]
    assert len(copied) == 4
    assert all("third party's copy" in o and "resources/017.png" in o for o in copied)
    assert [key[2] for key, o in of.items() if "ASCNet abstract" in o] == ["ucf101"]
    assert of["RSPNet", "C3D", "ucf101", "retrieval"] == "RSPNet README; split 1; RGB"
    assert of["TCLR", "R3D-18", "ucf101", "retrieval"] == "TCLR README; split not noted; RGB"


def rows_of(task: str, dataset: str, start: str) -> list[PublishedFigures]:
    return [row for row in published(task, dataset) if row.method.startswith(start)]


def test_a_row_says_its_split():
    supplement = [r for r in published("retrieval", "ucf101") if r.source == "RSPNet supplement"]
    slowfast = [r for r in published("finetune", "ucf101") if r.source.startswith("SlowFast")]
    assert [row.split for row in supplement] == ["1"] * 4
    assert [row.split for row in slowfast] == ["1"] * 7
    assert all("its code" in row.origin for row in rows_of("retrieval", "ucf101", "CoCLR"))


def test_a_row_says_what_was_used():
    """Optical flow, other weights to begin with, and what was left out."""
    for dataset, rgb, both in (("ucf101", 78.1, 86.1), ("hmdb51", 41.2, 54.5)):
        one, two = rows_of("finetune", dataset, "MemDPC")
        assert (one.figures["top1"], two.figures["top1"]) == (rgb, both)
        assert one.used == "RGB" and two.used.startswith("RGB and optical flow")
    for task in ("finetune", "retrieval"):
        for row in (*rows_of(task, "ucf101", "MSCL"), *rows_of(task, "ucf101", "CoCLR")):
            assert "optical flow in pre-training" in row.origin
    assert "ImageNet" in rows_of("retrieval", "hmdb51", "VCLR")[0].used
    (hmdb,), (ucf,) = (rows_of("fewshot", name, "V-JEPA 2") for name in ("hmdb51", "ucf101"))
    assert (hmdb.figures, ucf.figures) == ({"8-shot": 45.6}, {"8-shot": 81.4})
    assert hmdb.split == "1" and "51 of the 101 classes" in ucf.origin


def test_a_row_says_which_network_and_what_it_was_trained_on():
    """As its source does: 14.4 M weights, R3D-50, and no data set for DualVar's retrieval."""
    rows = [r for task in PUBLISHED_TASKS for name in DATASETS for r in published(task, name)]
    assert {r.backbone for r in rows if r.method == "CVRL"} == {"R3D-50"}
    of_dualvar = rows_of("retrieval", "ucf101", "DualVar")
    assert [(r.pretraining, "r2plus1d-vcop" in r.backbone) for r in of_dualvar] == [("", True)]
    assert {r.pretraining for r in rows_of("retrieval", "ucf101", "VCLR")} == {
        "Kinetics-400",
        "UCF-101",
    }


def test_a_probe_on_augmented_clips_is_a_linear_probe():
    assert published("linear-on-the-fly", "ucf101") == published("linear", "ucf101") != ()
    assert text_rows("linear-on-the-fly", "ucf101") == text_rows("linear", "ucf101")


def test_there_is_nothing_of_an_unknown_task():
    assert published("detection", "ucf101") == ()
    assert text_rows("detection", "ucf101") == []


def test_text_is_aligned_and_says_whose_figures_they_are():
    first, head, *lines = text_rows("retrieval", "ucf101")
    assert first.startswith("published, not ours: other data") and first.endswith(":")
    assert head.split()[:2] == ["recall@1", "recall@5"]
    assert len(lines) == len(published("retrieval", "ucf101"))
    end = head.index("recall@5") + len("recall@5")
    assert all(line[end - 1].isdigit() or line[end - 1] == "-" for line in lines)
    assert text_rows("retrieval", "shapes") == []
    assert text_rows("retrieval", "ucf101", ("top1",)) == []
    assert "recall@50" not in text_rows("retrieval", "ucf101", ("recall@1",))[1]


def split(train: int, test: int, part: str = "test") -> dict[str, object]:
    return {"test_part": part, "counts": {"train": train, "test": test, "unlabelled": 0}}


@pytest.mark.parametrize(
    ("dataset", "classes", "splits"),
    [
        ("ucf101", 101, {"1": split(9537, 3783)}),
        ("ucf101", 101, {"2": split(9586, 3734), "3": split(9624, 3696)}),
        ("hmdb51", 51, {"3": split(3570, 1530)}),
        ("kinetics400", 400, {"1": split(240_436, 19_796, "val")}),
        ("kinetics600", 600, {"1": split(366_006, 27_935, "val")}),
    ],
)
def test_a_whole_data_set_lacks_nothing(dataset, classes, splits):
    assert lacks(dataset, classes, splits) == ""


@pytest.mark.parametrize(
    ("dataset", "classes", "splits", "said"),
    [
        (
            "ucf101",
            6,
            {"1": split(48, 12)},
            "6 of 101 classes; 48 of 9537 videos in the train part",
        ),
        (
            "ucf101",
            101,
            {"1": split(9537, 3782)},
            "3782 of 3783 videos in the test part of split 1",
        ),
        ("ucf101", 101, {"1": split(9538, 3783)}, "9538 of 9537 videos in the train part"),
        (
            "ucf101",
            101,
            {"1": split(9537, 3783), "2": split(9, 3734)},
            "9 of 9586 videos in the tr",
        ),
        ("ucf101", 101, {"mine": split(9537, 3783)}, "split mine has no official train part"),
        ("hmdb51", 51, {"1": split(3570, 1530, "val")}, "split 1 has no official val part"),
        ("hmdb51", 51, {}, "the number of videos of the result is unknown"),
        ("hmdb51", 51, {"1": {}}, "0 of 3570 videos in the train part of split 1"),
        ("kinetics400", 400, {"1": split(200_000, 19_900, "val")}, "200000 of 246534 videos in"),
        ("kinetics400", 399, {"1": split(246_534, 19_906, "val")}, "399 of 400 classes"),
    ],
)
def test_what_a_data_set_lacks_is_said(dataset, classes, splits, said):
    text = lacks(dataset, classes, splits)
    assert text.startswith(f"published figures are left out, as this is not the whole of {dataset}")
    assert said in text


def test_how_large_it_is_is_known_of_every_data_set_with_rows():
    assert {row.dataset for row in _ROWS} <= set(_WHOLE)
