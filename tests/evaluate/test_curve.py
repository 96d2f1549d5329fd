import pytest

from evaluate.curve import curve_table, curves_of, scores_in

CLIPS = {"frames": 8, "clips": 2, "layer": "last"}
SCORES = {"effective_rank": 20.06, "alignment": 0.5, "uniformity": -1.25, "lidar": None}


def result_of(task, step, figures, baselines=None, *, spread=None, scores=None, **more):
    """As evaluate/tasks.py writes it; `more`: of the protocol."""
    return {
        "task": task,
        "dataset": "shapes",
        "factor": "",
        "split": "1",
        "columns": list(figures),
        "results": {"trained": figures, **(baselines or {})},
        "spread": {"trained": spread} if spread else None,
        "splits": {"1": {"details": {"trained": {"label_free": scores or SCORES}}}},
        "protocol": CLIPS | {"step": step, "checkpoint_sha256": str(step)} | more,
    }


def test_tasks_of_one_run_are_columns_of_one_table():
    untrained = {"untrained": {"recall@1": 10.0}, "untrained, no siblings": {"recall@1": 9.0}}
    results = [
        result_of("linear", 40, {"top1": 60.0}),
        result_of("retrieval", 120, {"recall@1": 55.25}, untrained),
        result_of("retrieval", 40, {"recall@1": 30.0}, milestone=40),
        result_of("linear", 120, {"top1": 70.0}),
        result_of("fewshot", 120, {"1-shot": 20.0, "8-shot": None}, spread={"1-shot": 2.0}),
    ]
    (curve,) = curves_of(results)
    assert curve.columns == ["recall@1", "linear top-1", "1-shot"]
    assert [point.step for point in curve.points] == [40, 120]  # not "120", "40"
    assert [point.name for point in curve.starts] == ["untrained"]
    assert curve.scores == ["effective_rank", "alignment", "uniformity"]
    lines = curve_table(curve).splitlines()
    assert lines[0] == "The curve of the run on shapes, split 1 (figures: %)"
    heads = "step recall@1 linear top-1 1-shot effective rank alignment uniformity"
    assert lines[1].split() == heads.split()
    assert lines[2].split() == ["untrained", "10.0", "-", "-", "-", "-", "-"]
    assert lines[3].split() == ["40", "30.0", "60.0", "-", "20.1", "0.500", "-1.250"]
    assert lines[4].split()[:6] == ["120", "55.2", "70.0", "20.0", "±", "2.0"]
    assert "lower is more alike" in lines[6]


def test_what_was_asked_in_another_way_is_another_column_or_curve():
    results = [
        *(result_of("knn", step, {"knn@10": 50.0}, centring="none") for step in (4, 8)),
        *(result_of("knn", step, {"knn@10": 40.0}, centring="own mean") for step in (4, 8)),
        *(
            result_of("knn", step, {"knn@10": 45.0}, centring="none", temperature=1)
            for step in (4,)
        ),
        *(result_of("knn", step, {"knn@10": 30.0}, layer="layer3") for step in (4, 8)),
        result_of("knn", 8, {"knn@10": 20.0}, layer="layer2"),  # one checkpoint is no curve
    ]
    first, second = curves_of(results)
    assert first.columns == ["knn@10", "knn@10, own mean", "knn@10'"]
    assert [point.figures["knn@10, own mean"] for point in first.points] == [40.0, 40.0]
    assert "knn@10'" not in first.points[1].figures
    assert second.columns == ["knn@10"] and second.points[0].figures == {"knn@10": 30.0}


@pytest.mark.parametrize("other", [{"turned": True}, {"mirrored": True}, {"normalise": "clip"}])
def test_other_clips_are_another_curve(other):
    plain = [result_of("knn", step, {"knn@10": 50.0}) for step in (4, 8)]
    same = [result_of("knn", step, {"knn@10": 60.0}, **other) for step in (4, 8)]
    curves = curves_of(plain + same)
    assert [len(curve.columns) for curve in curves] == [1, 1]


def test_scores_of_older_results_are_not_there():
    old = result_of("knn", 4, {"knn@10": 50.0}) | {"splits": {"1": {}}}
    assert scores_in(old) == {}
    (curve,) = curves_of([old, result_of("knn", 8, {"knn@10": 50.0}) | {"splits": {}}])
    assert curve.scores == [] and "rank" not in curve_table(curve)
