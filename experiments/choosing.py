"""Can label-free scores choose checkpoints? Compare them with the linear probe:

python -m experiments.choosing RUN...

RUN: run directories for which `ascnet evaluate RUN --checkpoint all --task linear` has been run.
Prints a table with a row for each score:

all           Spearman's rank correlation with the linear probe, over all checkpoints of all runs
within        the same over the checkpoints of each run, averaged over the runs
regret        linear probe of a run's best checkpoint minus that of the checkpoint with the best
              score, in points, averaged over the runs
over last     linear probe of the chosen checkpoint minus that of the run's last one, averaged
best of all   as regret, but over the checkpoints of all runs together

Where several checkpoints have the best score, the mean of their linear probes counts.
"""

import json
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from builder import text_table
from evaluate.curve import curves_of
from evaluate.errors import EvaluateError
from evaluate.label_free import SCORES

LOWER_IS_BETTER = {"alignment", "uniformity"}
_PROBE = "linear top-1"


@dataclass(frozen=True)
class Milestone:
    """A checkpoint's linear probe and label-free scores.

    Attributes:
        linear: top-1 accuracy of the linear probe, percent
        scores: by name, with signs such that larger is better
    """

    linear: float
    scores: dict[str, float]


Run = Sequence[Milestone]  # in the order of steps


def milestones_of(run: Path) -> Run:
    """The evaluated checkpoints of a run. Raises EvaluateError if fewer than two have a linear
    probe."""
    results = [
        json.loads(path.read_text(encoding="utf-8"))
        for path in sorted((run / "results").glob("*linear*.json"))
    ]
    for curve in curves_of(results):
        if not curve.factor and _PROBE in curve.columns:
            return [
                Milestone(linear, {name: _better(name, point.scores[name]) for name in SCORES})
                for point in curve.points
                if (linear := point.figures[_PROBE]) is not None
            ]
    raise EvaluateError(
        f"{run} has no linear probe of two checkpoints or more. Run: ascnet evaluate --run {run} "
        "--checkpoint all --task linear"
    )


def _better(name: str, score: float | None) -> float:
    assert score is not None  # stores of these runs keep the features of several clips per video
    return -score if name in LOWER_IS_BETTER else score


def table(runs: Sequence[Run]) -> str:
    """The table in markdown: a row for each score, and one for the step as a score."""
    rows = [["score", "all", "within", "regret", "over last", "best of all"]]
    for name in SCORES:
        rows.append([SCORES[name].title, *_row(runs, [[o.scores[name] for o in r] for r in runs])])
    rows.append(["the step", *_row(runs, [list(map(float, range(len(run)))) for run in runs])])
    return text_table.markdown(rows)


def _row(runs: Sequence[Run], scores: Sequence[Sequence[float]]) -> list[str]:
    """The cells of a row. `scores`: one score of every checkpoint, run by run."""
    linear = [[milestone.linear for milestone in run] for run in runs]
    pairs = list(zip(linear, scores, strict=True))
    chosen = [_chosen(of_run, score) for of_run, score in pairs]
    every = [value for of_run in linear for value in of_run]
    every_score = [score for of_run in scores for score in of_run]
    within = [_correlation(of_run, score) for of_run, score in pairs]
    regret = [max(of_run) - value for of_run, value in zip(linear, chosen, strict=True)]
    over_last = [value - of_run[-1] for of_run, value in zip(linear, chosen, strict=True)]
    return [
        f"{_correlation(every, every_score):+.2f}",
        f"{statistics.fmean(within):+.2f}",
        f"{statistics.fmean(regret):.1f}",
        f"{statistics.fmean(over_last):.1f}",
        f"{max(every) - _chosen(every, every_score):.1f}",
    ]


def _chosen(linear: Sequence[float], scores: Sequence[float]) -> float:
    """The linear probe of the checkpoint with the best score, or the mean of several such."""
    best = max(scores)
    return statistics.fmean(o for o, score in zip(linear, scores, strict=True) if score == best)


def _correlation(linear: Sequence[float], scores: Sequence[float]) -> float:
    """Spearman's rank correlation; 0 if all values of one of the two are equal."""
    if len(set(linear)) == 1 or len(set(scores)) == 1:
        return 0.0
    return float(np.asarray(spearmanr(linear, scores).statistic))


def main(arguments: list[str]) -> None:
    if not arguments:
        sys.exit("Say: python -m experiments.choosing RUN...")
    try:
        runs = [milestones_of(Path(run)) for run in arguments]
    except EvaluateError as error:
        sys.exit(str(error))
    print(f"{len(runs)} trainings, {sum(map(len, runs))} checkpoints\n\n{table(runs)}")


if __name__ == "__main__":
    main(sys.argv[1:])
