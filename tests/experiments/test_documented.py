"""The pages of evidence show what the kept figures say, and the plans are those of the figures."""

import json
from pathlib import Path

import pytest

from experiments.figure import figure
from experiments.plan import load
from experiments.table import Results, markdown

ROOT = Path(__file__).resolve().parents[2]
# docs/evidence/*.json: the page with its tables, and the row that the others are compared with
PAGES = {
    **dict.fromkeys(("results", "demo"), ("evidence.md", "ascnet")),
    **dict.fromkeys(("again", "demo_again"), ("evidence/again.md", "ascnet")),
    **dict.fromkeys(("before", "weights", "one_encoder"), ("evidence/before.md", "ascnet")),
    **{name: (f"evidence/{name}.md", "ascnet") for name in ("first", "settings", "whole", "tried")},
    "clips": ("evidence.md", "ascnet, of shapes"),
    "clips_again": ("evidence/again.md", "ascnet, of shapes"),
}
PLANS = {"results": "evidence", "again": "evidence", "demo": "demo", "clips": "clips"}
PARTS = {"demo_again": "demo", "clips_again": "clips"}  # of these plans not all cells are kept


def kept(name: str) -> Results:
    return list(json.loads((ROOT / "docs" / "evidence" / f"{name}.json").read_text()))


@pytest.mark.parametrize("name", PAGES)
def test_tables_are_of_the_kept_figures(name):
    page, baseline = PAGES[name]
    order = list(dict.fromkeys(cell["variant"] for cell in kept(name)))
    tables = markdown(kept(name), order, baseline).split("\n\n")[1::2]  # without headings
    text = (ROOT / "docs" / page).read_text()
    assert tables and all(table.strip() in text for table in tables)


@pytest.mark.parametrize("name, plan", (PLANS | PARTS).items())
def test_kept_figures_are_of_the_plan(name, plan):
    loaded = load(ROOT / "experiments" / f"{plan}.toml")
    planned = {(cell.data.name, cell.variant.name, cell.seed) for cell in loaded.cells}
    cells = [(cell["data"], cell["variant"], cell["seed"]) for cell in kept(name)]
    assert len(cells) == len(set(cells)) and PAGES[name][1] == loaded.baseline
    assert set(cells) == planned if name in PLANS else set(cells) < planned


@pytest.mark.parametrize("name, picture", [("results", "figure"), ("demo", "recipe")])
def test_figures_are_of_the_kept_figures(name, picture):
    drawn = figure(kept(name), list(dict.fromkeys(cell["variant"] for cell in kept(name))))
    assert (ROOT / "docs" / "evidence" / f"{picture}.svg").read_text() == drawn
    assert f"(evidence/{picture}.svg)" in (ROOT / "docs" / PAGES[name][0]).read_text()
