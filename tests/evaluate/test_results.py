from typing import Any

from evaluate.results import cautions


def result(classes: int, test: int) -> dict[str, Any]:
    names = [f"class {i}" for i in range(classes)]
    return {"classes": names, "splits": {"1": {"counts": {"train": 9, "test": test}}}}


def test_figures_of_few_test_videos_and_of_one_class_say_so():
    assert cautions(result(2, 100)) == []
    (few,) = cautions(result(2, 12))
    assert "12 test videos" in few and few.endswith("up to ± 28 points.")
    assert "all videos are of one class" in cautions(result(1, 100))[0]
