import json
from xml.etree import ElementTree

import pytest

from experiments import compare
from experiments.figure import figure, limits
from experiments.table import by_seed, differences, markdown, short, words


def cell(variant: str, seed: int, **figures: float) -> dict:
    return {
        "data": "toy",
        "variant": variant,
        "seed": seed,
        "figures": {f"toy class {name}": value for name, value in figures.items()},
    }


RESULTS = [
    cell("pixels", 0, linear=10.0),
    cell("ours", 0, linear=40.0),
    cell("ours", 1, linear=50.0),
    cell("ours", 2, linear=60.0),
    cell("theirs", 0, linear=42.0),
    cell("theirs", 1, linear=54.0),
    {"data": "toy", "variant": "theirs", "seed": 2, "error": "The loss is nan."},
]


def test_means_spreads_and_paired_differences():
    assert markdown(RESULTS, ["pixels", "ours", "theirs"], "ours") == (
        "## toy: percent, mean ± standard deviation over the seeds\n\n"
        "| variant | seeds | class linear |\n"
        "| --- | ---: | ---: |\n"
        "| pixels | 1 | 10.0 |\n"
        "| ours | 3 | 50.0 ± 10.0 |\n"
        "| theirs | 2 | 48.0 ± 8.5 |\n\n"
        "## toy: less ours, seed by seed, mean ± standard deviation\n\n"
        "| variant | seeds | class linear |\n"
        "| --- | ---: | ---: |\n"
        "| pixels | 1 | -30.0 |\n"
        "| theirs | 2 | +3.0 ± 1.4 |\n\n"
        "## Failed\n\n"
        "- toy, theirs, seed 2: The loss is nan.\n"
    )


def test_a_short_table_has_the_figures_that_are_asked_for():
    two = [*RESULTS, {**cell("ours", 0, recall=8.0), "data": "other"}]
    shown = {"linear probe": "toy class linear"}
    assert short(RESULTS, ["pixels", "ours"], shown) == (
        "|  | seeds | linear probe |\n"
        "| --- | ---: | ---: |\n"
        "| pixels | 1 | 10.0 |\n"
        "| ours | 3 | 50.0 ± 10.0 |"
    )
    several = {"a": "toy class linear", "b": "toy class recall", "c": "toy class linear"}
    assert short(RESULTS, ["ours"], several) == (
        "|  | ours |\n"
        "| --- | ---: |\n"
        "| seeds | 3 |\n"
        "| a | 50.0 ± 10.0 |\n"
        "| b | – |\n"
        "| c | 50.0 ± 10.0 |"
    )
    assert short(two, ["ours"], {"recall@1": "toy class recall"}).endswith(
        "| ours, other | 1 | 8.0 |"
    )


def test_differences_are_of_the_same_seed():
    own = by_seed(RESULTS, "toy", "theirs", "toy class linear")
    assert own == {0: 42.0, 1: 54.0}
    assert differences(own, {1: 50.0, 2: 0.0}) == [4.0]
    assert words([]) == "–" and words([2.04], "+") == "+2.0"


def test_two_variants_are_compared_seed_by_seed(tmp_path, capsys):
    assert compare.compare(RESULTS, "toy", "theirs", "ours") == [
        ["toy class linear", "+3.0 ± 1.4", "+2.0  +4.0"]
    ]
    path = tmp_path / "results.json"
    path.write_text(json.dumps(RESULTS))
    compare.main([str(path), "toy", "ours", "pixels"])
    assert capsys.readouterr().out == "toy class linear  +30.0  +30.0\n"


def test_what_cannot_be_compared_is_said(tmp_path):
    path = tmp_path / "results.json"
    path.write_text(json.dumps(RESULTS))
    for arguments, said in (
        ([path, "toy", "ours", "mine"], "no seed in common on 'toy'. There are:\n  toy: pixels"),
        ([tmp_path / "none.json", "toy", "ours", "theirs"], "none.json"),
        ([path, "toy"], "Say: python -m experiments.compare"),
    ):
        with pytest.raises(SystemExit) as stop:
            compare.main([*map(str, arguments)])
        assert said in str(stop.value)


def test_the_figure_has_a_dot_for_every_seed_and_a_bar_for_every_mean():
    svg = ElementTree.fromstring(figure(RESULTS, ["pixels", "ours", "theirs"]))
    space = "{http://www.w3.org/2000/svg}"
    dots = svg.findall(f"{space}circle")
    assert [dot.find(f"{space}title").text for dot in dots] == [
        "seed 0: 10.0 %",
        "seed 0: 40.0 %",
        "seed 1: 50.0 %",
        "seed 2: 60.0 %",
        "seed 0: 42.0 %",
        "seed 1: 54.0 %",
    ]
    x = [float(dot.get("cx")) for dot in dots]
    assert x[2] == pytest.approx((x[1] + x[3]) / 2, abs=0.1)
    assert len({dot.get("cy") for dot in dots}) == 3
    bars = [line for line in svg.findall(f"{space}line") if line.get("stroke") == "#222222"]
    assert [float(bar.get("x1")) for bar in bars] == pytest.approx(
        [x[0], x[2], (x[4] + x[5]) / 2], abs=0.2
    )
    words = [text.text for text in svg.findall(f"{space}text")]
    assert {"ours", "theirs", "pixels", "toy class linear", "10", "35", "60"} <= set(words)


def test_a_figure_of_some_figures():
    two = [cell("ours", 0, linear=10.0, recall=20.0)]
    drawn = figure(two, ["ours"], {"recall@1": "toy class recall"})
    assert ">recall@1</text>" in drawn and "linear" not in drawn and drawn.count("<circle") == 1


def test_a_figure_of_nothing_is_a_picture():
    ElementTree.fromstring(figure([], ["ours"]))
    ElementTree.fromstring(figure([RESULTS[-1]], ["theirs"]))


def test_limits_are_tens():
    assert limits([41.0, 58.9]) == (40, 60)
    assert limits([50.0]) == (50, 60)
    assert limits([100.0, 99.0]) == (90, 100)
