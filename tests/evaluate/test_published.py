import pytest

from evaluate.errors import EvaluateError
from evaluate.published import TASKS, published, text_rows

DATASETS = ("ucf101", "hmdb51", "kinetics400", "kinetics600")


def test_rows_are_of_the_task_and_the_data_set():
    rows = published("retrieval", "ucf101")
    assert rows and all((r.task, r.dataset) == ("retrieval", "ucf101") for r in rows)
    assert published("retrieval", "shapes") == published("knn", "ucf101") == ()


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("dataset", DATASETS)
def test_every_row_has_a_source_and_percents(task: str, dataset: str):
    for row in published(task, dataset):
        assert row.method and row.source and row.figures
        assert all(0 < value < 100 for value in row.figures.values())
        recall = [row.figures[name] for name in row.figures if name.startswith("recall@")]
        assert recall == sorted(recall)


def test_no_row_is_there_twice():
    rows = [row for task in TASKS for name in DATASETS for row in published(task, name)]
    keys = [(r.method, r.backbone, r.pretraining, r.task, r.dataset) for r in rows]
    assert len(keys) == len(set(keys))


def test_what_nobody_could_verify_is_not_there():
    methods = {row.method for row in published("retrieval", "ucf101")}
    assert "ASCNet" not in methods
    assert not any("wizwand" in row.source for row in published("finetune", "ucf101"))


def test_a_wrong_task_is_named():
    with pytest.raises(EvaluateError, match=r"'detection'; it takes retrieval, linear"):
        published("detection", "ucf101")


def test_text_is_aligned_and_says_whose_figures_they_are():
    first, head, *lines = text_rows("retrieval", "ucf101")
    assert first == "published, not ours:"
    assert head.split()[:2] == ["recall@1", "recall@5"]
    assert len(lines) == len(published("retrieval", "ucf101"))
    ends = {line.index("README") for line in lines if line.endswith(" README")}
    assert len({len(line[: head.index("recall@5") + 8]) for line in lines}) == 1 and ends
    assert text_rows("retrieval", "shapes") == []
    assert text_rows("retrieval", "ucf101", ("top1",)) == []
    assert "recall@50" not in text_rows("retrieval", "ucf101", ("recall@1",))[1]
