"""docs/evidence.md shows what the kept figures say, and these are of the plans."""

import json
from pathlib import Path

import pytest

from experiments.choosing import Milestone
from experiments.choosing import table as choosing_table
from experiments.figure import figure
from experiments.plan import load
from experiments.scaling import draw, points_of
from experiments.table import Results, short

ROOT = Path(__file__).resolve().parents[2]
KEPT = sorted(path.stem for path in (ROOT / "docs" / "evidence").glob("*.json"))
OF_NO_PLAN = {"choosing"}
PLANS = {
    name: load(ROOT / "experiments" / f"{name}.toml") for name in KEPT if name not in OF_NO_PLAN
}
SHOWN = [name for name, plan in PLANS.items() if plan.shown]
PAGE = (ROOT / "docs" / "evidence.md").read_text()


def kept(name: str) -> Results:
    return list(json.loads((ROOT / "docs" / "evidence" / f"{name}.json").read_text()))


def test_the_main_table_is_kept():
    assert "evidence" in SHOWN and "(evidence/evidence.svg)" in PAGE


@pytest.mark.parametrize("name", SHOWN)
def test_tables_are_of_the_kept_figures(name):
    order = [variant.name for variant in PLANS[name].variants]
    assert short(kept(name), order, PLANS[name].shown) in PAGE


@pytest.mark.parametrize("name", PLANS)
def test_kept_figures_are_of_the_plan(name):
    cells = PLANS[name].cells
    planned = {(cell.data.name, cell.variant.name, cell.seed) for cell in cells}
    known = [(cell["data"], cell["variant"], cell["seed"]) for cell in kept(name)]
    assert len(known) == len(set(known))
    assert set(known) < planned if name == "choose" else set(known) == planned


@pytest.mark.parametrize("name", [name for name in SHOWN if f"(evidence/{name}.svg)" in PAGE])
def test_pictures_are_of_the_kept_figures(name):
    order = [variant.name for variant in PLANS[name].variants]
    drawn = figure(kept(name), order, PLANS[name].shown)
    assert (ROOT / "docs" / "evidence" / f"{name}.svg").read_text() == drawn


def test_the_scaling_curve_is_of_the_kept_figures():
    axes = points_of(*map(kept, ("real", "real_clips", "real_steps")))
    assert (ROOT / "docs" / "evidence" / "scaling.svg").read_text() == draw(axes)
    assert "(evidence/scaling.svg)" in PAGE


def test_how_much_speed_the_papers_objective_tells():
    paper = [cell for cell in kept("parts") if cell["variant"].startswith("the paper's,")]
    assert len(paper) == 8 and max(cell["speed_told"] for cell in paper) < 0.002
    assert "Playback speed explains less than 0.2 %" in PAGE


def test_scores_without_labels_choose_as_the_table_says():
    runs = [
        [Milestone(point.pop("linear"), point) for point in run["checkpoints"]]
        for run in kept("choosing")
    ]
    assert choosing_table(runs) in (ROOT / "docs" / "evaluation.md").read_text()


def test_the_page_is_short():
    prose = [line for line in PAGE.splitlines() if not line.startswith("|")]
    assert len(" ".join(prose).split()) <= 1500
