import json

import pytest

from evaluate.errors import EvaluateError
from evaluate.label_free import SCORES
from experiments.choosing import Milestone, milestones_of, table

FIRST = next(iter(SCORES))


def run_of(*points: tuple[float, float]) -> list[Milestone]:
    """Of the linear probe and the first score; the others say nothing."""
    return [Milestone(linear, dict.fromkeys(SCORES, 0.0) | {FIRST: s}) for linear, s in points]


def cells(text: str, row: str) -> list[str]:
    line = next(line for line in text.splitlines() if line.startswith(f"| {row} "))
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


def test_a_score_that_knows_all():
    text = table([run_of((10, 1), (30, 3), (20, 2)), run_of((40, 4), (50, 5))])
    assert cells(text, SCORES[FIRST].title) == ["+1.00", "+1.00", "0.0", "5.0", "0.0"]
    # By the step: ranks 1, 3, 2 of 10, 20, 30 within the first run.
    assert cells(text, "the step")[1:] == ["+0.75", "5.0", "0.0", "30.0"]


def test_a_score_that_is_wrong_and_one_that_says_nothing():
    text = table([run_of((10, 3), (30, 1)), run_of((10, 3), (20, 1))])
    assert cells(text, SCORES[FIRST].title)[1:] == ["-1.00", "15.0", "-15.0", "20.0"]
    assert cells(text, "the step")[-1] == "5.0"  # 30 or 20 of the last ones, which tie
    assert cells(text, SCORES["lidar"].title)[:2] == ["+0.00", "+0.00"]


def test_what_a_run_says(tmp_path):
    (tmp_path / "results").mkdir()
    with pytest.raises(EvaluateError, match="no linear probe of two checkpoints or more"):
        milestones_of(tmp_path)
    for step, top1 in ((20, 50.0), (10, 40.0)):
        scores = {"effective_rank": step, "lidar": 2.0, "alignment": 0.5, "uniformity": -1.0}
        result = {
            "task": "linear",
            "dataset": "toy",
            "factor": None,
            "split": "1",
            "protocol": {"step": step, "clips": 2, "probe": {}},
            "columns": ["top1"],
            "results": {"trained": {"top1": top1}},
            "spread": None,
            "splits": {"1": {"details": {"trained": {"label_free": scores}}}},
        }
        (tmp_path / "results" / f"toy_linear_step-{step}.json").write_text(json.dumps(result))
    first, second = milestones_of(tmp_path)
    assert (first.linear, second.linear) == (40.0, 50.0)
    assert first.scores["effective_rank"] == 10 and first.scores["alignment"] == -0.5
