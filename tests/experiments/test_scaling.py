import re

import pytest

from experiments import scaling


def cell(data: str, variant: str, seed: int, value: float) -> dict:
    figures = {f"{name} {m}": value for name in scaling.TEST_SETS for m in scaling.MEASURES}
    return {"data": data, "variant": variant, "seed": seed, "figures": figures}


REAL = [cell("real", "calibrated", 0, 10.0), cell("real", "real", 0, 40.0)]
CLIPS = [
    cell("real_10", "real", 0, 20.0),
    cell("real_10", "real", 1, 24.0),
    cell("real_30", "real", 0, 30.0),
]
STEPS = [cell("real", "real, 400 steps", 0, 15.0), cell("real", "real, 800 steps", 0, 25.0)]


def test_each_axis_goes_from_networks_that_learnt_nothing_to_the_whole_training():
    axes = scaling.points_of(REAL, CLIPS, STEPS)
    clips = scaling.chart_of("arid", "clips", axes["clips"])
    steps = scaling.chart_of("arid", "steps", axes["steps"])
    assert clips.x_labels == ["0", "10 %", "30 %", "all"]
    assert steps.x_labels == ["0", "400", "800", "1 200"]
    assert {line.name for line in clips.lines} == set(scaling.MEASURES.values())
    for line in clips.lines:
        assert line.values == [10.0, 22.0, 30.0, 40.0]
        assert line.spread == [None, pytest.approx(2.828, abs=1e-3), None, None]
    for line in steps.lines:
        assert line.values == [10.0, 15.0, 25.0, 40.0]


def test_what_is_not_computed_is_a_gap():
    (line, *_) = scaling.chart_of("arid", "clips", scaling.points_of(REAL, [], [])["clips"]).lines
    assert line.values == [10.0, None, None, 40.0]


def test_a_row_for_each_test_set_and_a_column_for_each_axis():
    drawn = scaling.draw(scaling.points_of(REAL, CLIPS, STEPS))
    titles = re.findall(r'class="title"[^>]*>([^<]+)<', drawn)
    assert titles[:2] == ["ARID, by clips", "ARID, by steps"]
    assert len(titles) == 2 * len(scaling.TEST_SETS)


def test_it_takes_three_files():
    with pytest.raises(SystemExit, match="REAL CLIPS STEPS"):
        scaling.main(["one"])
