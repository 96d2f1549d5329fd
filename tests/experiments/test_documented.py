"""The pages of evidence show what the kept figures say, and the plans are those of the figures."""

import json
from pathlib import Path

import pytest

from experiments.figure import figure
from experiments.plan import load
from experiments.table import markdown

ROOT = Path(__file__).resolve().parents[2]
# docs/evidence/*.json: experiments/*.toml, and the page with its tables
PLANS = {
    own: own
    for own in (
        *("first", "settings", "whole", "tried"),
        *("demo", "clips", "before", "weights", "one_encoder"),
    )
}
PLANS["results"] = PLANS["again"] = "evidence"
PLANS["demo_again"], PLANS["clips_again"] = "demo", "clips"
# Of these not all cells of the plan are kept, but of these data sets
WHOLE: dict[str, set[str]] = {"first": {"shapes"}, "demo_again": set(), "clips_again": set()}
PAGES = {
    "results": "evidence.md",
    "again": "evidence/again.md",
    "demo_again": "evidence/again.md",
    "clips_again": "evidence/again.md",
    "demo": "evidence.md",
    "clips": "evidence.md",
    "before": "evidence/before.md",
    "weights": "evidence/before.md",
    "one_encoder": "evidence/before.md",
    "first": "evidence/first.md",
    "settings": "evidence/settings.md",
    "whole": "evidence/whole.md",
    "tried": "evidence/tried.md",
}


@pytest.mark.parametrize("kept", PLANS)
def test_tables_are_of_the_kept_figures(kept):
    plan = load(ROOT / "experiments" / f"{PLANS[kept]}.toml")
    results = json.loads((ROOT / "docs" / "evidence" / f"{kept}.json").read_text())
    order = [variant.name for variant in plan.variants]
    text = (ROOT / "docs" / PAGES[kept]).read_text()
    tables = markdown(results, order, plan.baseline).split("\n\n")[1::2]  # without headings
    assert tables and all(table.strip() in text for table in tables)


@pytest.mark.parametrize("kept", PLANS)
def test_kept_figures_are_of_the_plan(kept):
    plan = load(ROOT / "experiments" / f"{PLANS[kept]}.toml")
    results = json.loads((ROOT / "docs" / "evidence" / f"{kept}.json").read_text())
    cells = {(cell.data.name, cell.variant.name, cell.seed) for cell in plan.cells}
    found = [(r["data"], r["variant"], r["seed"]) for r in results]
    assert set(found) <= cells and len(found) == len(set(found))
    whole = WHOLE.get(kept, {data.name for data in plan.data})
    assert {own for own in cells if own[0] in whole} <= set(found)


@pytest.mark.parametrize("kept, picture", [("results", "figure"), ("demo", "recipe")])
def test_figures_are_of_the_kept_figures(kept, picture):
    plan = load(ROOT / "experiments" / f"{PLANS[kept]}.toml")
    results = json.loads((ROOT / "docs" / "evidence" / f"{kept}.json").read_text())
    drawn = figure(results, [variant.name for variant in plan.variants])
    assert (ROOT / "docs" / "evidence" / f"{picture}.svg").read_text() == drawn
    assert f"(evidence/{picture}.svg)" in (ROOT / "docs" / PAGES[kept]).read_text()
