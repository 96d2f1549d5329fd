import json
import runpy
import shutil
import subprocess
import sys
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch

from builder.shards.dataset import ShardDataset
from evaluate.features.encode import Pooled, to_device
from evaluate.protocol import protocol_of
from experiments import cell, evidence
from experiments.measure import Measures, features_of, figures_of
from experiments.plan import load
from tests.conftest import TINY
from tests.processes import start
from trainer.config.recipe_file import load_recipe
from trainer.errors import TrainerError
from trainer.run import checkpoint
from trainer.run.checkpoint import load_backbone
from trainer.run.log import LOG_FILE
from trainer.weights.load import backbone_from_file

PLANS = Path(evidence.__file__).parent
STEPS = ("optim.steps=2", "evaluate.clips=2", "milestones=0", "objective.collapse_steps=0")


def write_plan(path: Path, shards: Path, variants: str, seeds: str = "[0]") -> Path:
    path.write_text(
        f'recipe = "demo"\nseeds = {seeds}\nbaseline = "ascnet"\nat_once = 2\n'
        f"set = {json.dumps([*TINY, *STEPS])}\n"
        f'[data.toy]\ntrain = ["{shards}"]\ntest = ["{shards}"]\n'
        f'[data.gone]\ntrain = ["{shards}/gone"]\ntest = ["{shards}"]\n{variants}'
    )
    return path


def compute_a_cell(words: list[str]) -> None:
    sys.argv = words
    runpy.run_module("experiments.cell", run_name="__main__")


class Processes:
    """In place of `subprocess`: starts the first process as it is told, and forks the others."""

    def __init__(self) -> None:
        self.started = 0

    def run(
        self, command: list[str], env: dict[str, str], **how: bool
    ) -> subprocess.CompletedProcess[str]:
        self.started += 1
        if self.started == 1:
            return subprocess.run(command, env=env, **how)  # noqa: PLW1510
        assert command[1:3] == ["-m", "experiments.cell"]
        return start(compute_a_cell, command[2:], cwd=Path.cwd(), **env).end()


@pytest.mark.slow
def test_two_variants_to_a_table_and_a_figure(shards, tmp_path, capsys, monkeypatch):
    processes = Processes()
    monkeypatch.setattr(evidence, "subprocess", processes)
    variants = '[variants.ascnet]\n[variants.peer]\nkind = "byol"\n'
    path, out = write_plan(tmp_path / "plan.toml", shards, variants), tmp_path / "out"
    evidence.main([str(path), str(out)])
    said, progress = capsys.readouterr()
    assert f"gone is left out: there are no shards in {shards}/gone." in said
    assert "measuring 2/2 cells" in progress and "## toy: less ascnet" in said
    assert processes.started == 2
    found = {p.parent.name: json.loads(p.read_text()) for p in out.glob("toy/*/result.json")}
    assert set(found) == {"ascnet-seed0", "peer-seed0"}
    for result in found.values():
        names = ("class recall@1", "class linear", "speed linear")
        assert set(result["figures"]) == {f"folder {name}" for name in names}
        assert all(0 <= value <= 100 for value in result["figures"].values())
    assert found["ascnet-seed0"]["last"]["step"] == 2
    assert (out / "figure.svg").read_text().count("<circle") == 6
    written = (out / "table.md").read_text()

    evidence.main([str(path), str(out)])  # nothing is computed again
    assert "toy, " not in capsys.readouterr().err
    assert (out / "table.md").read_text() == written

    write_plan(path, shards, variants + 'set = ["optim.lr=0.1"]\n')
    changed = load(path)
    done = [evidence.is_done(changed, own, out) for own in changed.cells[:2]]
    assert done == [True, False]  # what changed would be
    assert [own["variant"] for own in evidence.results(changed, out)] == ["ascnet"]


@pytest.mark.slow
def test_every_kind_gives_figures_and_a_failure_is_a_row(shards, tmp_path):
    kinds = (
        "pixels",
        "motion-pixels",
        "colours",
        "untrained",
        "calibrated",
        "byol",
        "simsiam",
        "moco",
        "supervised",
    )
    variants = "[variants.ascnet]\n" + "".join(f'[variants.{k}]\nkind = "{k}"\n' for k in kinds)
    variants += '[variants.wild]\nset = ["optim.lr=1e30", "optim.warmup=0.0", "optim.steps=8"]\n'
    plan = load(write_plan(tmp_path / "plan.toml", shards, variants, "[1]"))
    toy = [own for own in plan.cells if own.data.name == "toy"]
    results = {own.variant.name: cell.compute(plan, own, tmp_path) for own in toy}
    assert all("figures" in results[kind] for kind in kinds)
    assert "no number" in results["wild"]["error"] or "nan" in results["wild"]["error"]
    moco = toy[[own.variant.name for own in toy].index("moco")]
    again = cell.compute(plan, moco, tmp_path)
    assert again["figures"] == results["moco"]["figures"]
    _, loaded, _ = backbone_from_file(moco.folder(tmp_path) / cell.BACKBONE, "r3d-tiny")
    assert loaded.loaded == loaded.expected and not loaded.unused
    evidence.write(plan, tmp_path)
    assert "- toy, wild, seed 1: The loss is" in (tmp_path / "table.md").read_text()


def test_the_normalisation_of_a_recipe_does_not_change_hand_crafted_features(
    shards, tmp_path, monkeypatch
):
    """A histogram of what is left when the background is subtracted has no colours."""
    features = []

    def measured(network, dataset, protocol, _measures):
        features.append(features_of(network, dataset, protocol))
        return {}

    monkeypatch.setattr(cell, "figures_of", measured)
    kinds = ("pixels", "motion-pixels", "colours")
    variants = "[variants.ascnet]\n" + "".join(f'[variants.{k}]\nkind = "{k}"\n' for k in kinds)
    for normalise in ("fixed", "motion"):
        path = write_plan(tmp_path / "plan.toml", shards, variants)
        text = path.read_text().replace("set = [", f'set = ["data.normalise={normalise}", ', 1)
        path.write_text(text)
        plan = load(path)
        cells = [own for own in plan.cells if own.data.name == "toy" and own.variant.kind in kinds]
        assert plan.settings(cells[0]).data.normalise == normalise
        for own in cells:
            cell.compute(plan, own, tmp_path / normalise)
    assert len(features) == 6
    assert all(np.array_equal(*two) for two in zip(features[:3], features[3:], strict=True))
    assert not np.allclose(features[0], features[1])


def test_a_finished_run_is_measured_and_again_when_it_was_trained_on(
    finished_run, shards, tmp_path
):
    runs = tmp_path / "runs"
    shutil.copytree(finished_run, runs / "seed3")
    variants = f'[variants.ascnet]\nkind = "trained"\nrun = "{runs}/seed{{seed}}"\n'
    variants += 'set = ["model.init=weights{seed}.pt"]\n'
    path = write_plan(tmp_path / "plan.toml", shards, variants, "[3, 4]")
    path.write_text(path.read_text().replace("[data.gone]", 'protocol = ["clips=1"]\n[data.gone]'))
    plan = load(path)
    own, gone = (cell for cell in plan.cells if cell.data.name == "toy")
    assert plan.settings(own).model.init == "weights3.pt"
    figures = cell.compute(plan, own, tmp_path / "out")["figures"]
    backbone = Pooled(load_backbone(finished_run).backbone)
    to_device(backbone, torch.device("cpu"))
    protocol = replace(protocol_of(plan.settings(own)), clips=1)
    assert figures == figures_of(backbone, ShardDataset(shards), protocol, Measures("1"))
    assert evidence.is_done(plan, own, tmp_path / "out")
    newest = checkpoint.list_checkpoints(own.run)[-1]
    newest.write_bytes(newest.read_bytes() + b" ")
    assert not evidence.is_done(plan, own, tmp_path / "out")
    assert "There is no run" in cell.compute(plan, gone, tmp_path / "out")["error"]


def test_weights_to_start_with_that_changed_are_started_with_anew(finished_run, shards, tmp_path):
    weights = tmp_path / "first.pt"
    first, last = checkpoint.list_checkpoints(finished_run)[::3]
    shutil.copy(first, weights)
    changes = f'"model.init={weights}", "optim.steps=3", "milestones=3"'
    variants = f"[variants.ascnet]\nset = [{changes}]\n"
    plan = load(write_plan(tmp_path / "plan.toml", shards, variants))
    own = plan.cells[0]
    before = cell.compute(plan, own, tmp_path / "out")
    run = own.folder(tmp_path / "out") / "run"
    assert [int(path.stem) for path in checkpoint.list_checkpoints(run)] == [1, 2, 3]
    assert evidence.is_done(plan, own, tmp_path / "out")
    shutil.copy(last, weights)
    assert not evidence.is_done(plan, own, tmp_path / "out")
    after = cell.compute(plan, own, tmp_path / "out")
    assert after["last"]["loss"] != before["last"]["loss"]
    assert after["figures"] == cell.compute(plan, own, tmp_path / "anew")["figures"]
    weights.unlink()
    assert "first.pt, which cannot be read: No such" in cell.compute(plan, own, tmp_path)["error"]


def test_some_sets_are_tested_by_their_split_and_others_in_folds(
    finished_run, shards, tmp_path, monkeypatch
):
    other = shutil.copytree(shards, tmp_path / "other")
    variants = f'[variants.ascnet]\nkind = "trained"\nrun = "{finished_run}"\n'
    path = write_plan(tmp_path / "plan.toml", shards, variants)
    both = f'test = ["{shards}", "{other}"]\nfolds = 2\nby_split = ["{other}"]\nshots = 1\n'
    old, more = f'test = ["{shards}"]\n[data.gone]', f"{both}[data.gone]"
    path.write_text(path.read_text().replace(old, more))
    asked = {}
    monkeypatch.setattr(
        cell,
        "figures_of",
        lambda network, dataset, protocol, measures: asked.update({dataset.folder: measures}) or {},
    )
    plan = load(path)
    cell.compute(plan, plan.cells[0], tmp_path / "out")
    assert asked == {shards: Measures("1", 2, shots=1), other: Measures("1", 0, shots=1)}


def test_a_run_that_is_not_finished_is_not_measured(finished_run, shards, tmp_path):
    shutil.copytree(finished_run, tmp_path / "run")
    for later in checkpoint.list_checkpoints(tmp_path / "run")[2:]:
        later.unlink()
    variants = f'[variants.ascnet]\nkind = "trained"\nrun = "{tmp_path}/run"\n'
    plan = load(write_plan(tmp_path / "plan.toml", shards, variants))
    error = cell.compute(plan, plan.cells[0], tmp_path / "out")["error"]
    assert "is at step 4 of 8. Let its plan finish it first." in error
    early = load(write_plan(tmp_path / "early.toml", shards, f"{variants}step = 2\n"))
    assert cell.compute(early, early.cells[0], tmp_path / "early")["figures"]
    there = early.identity(early.cells[0])["checkpoint"]
    (first, _) = checkpoint.list_checkpoints(tmp_path / "run")
    assert there == [sha256(first.read_bytes()).hexdigest()]
    (tmp_path / "run" / LOG_FILE).unlink()
    error = cell.compute(plan, plan.cells[0], tmp_path / "out")["error"]
    assert f"{LOG_FILE} has no line. Remove {tmp_path}/run and let" in error


def test_a_stopped_training_goes_on_to_the_same_figures(shards, tmp_path, monkeypatch):
    plan = load(write_plan(tmp_path / "plan.toml", shards, "[variants.ascnet]\n"))
    own = plan.cells[0]
    whole = cell.compute(plan, own, tmp_path / "whole")
    train = cell.train

    def stopped(run, settings, data, device):
        def stop(done: int, total: int, text: str) -> None:
            raise KeyboardInterrupt

        return train(run, settings, data, device, stop)

    monkeypatch.setattr(cell, "train", stopped)
    with pytest.raises(KeyboardInterrupt):
        cell.compute(plan, own, tmp_path / "stopped")
    monkeypatch.undo()
    assert not evidence.is_done(plan, own, tmp_path / "stopped")
    assert cell.compute(plan, own, tmp_path / "stopped")["figures"] == whole["figures"]


def test_a_grid_crosses_what_trains_with_its_settings(shards, tmp_path):
    variants = '[variants.ascnet]\n[variants.untrained]\nkind = "untrained"\n'
    variants += '[grid]\n"optim.lr" = [0.1, 0.2]\n"objective.bank" = [64, 128]\n'
    path = write_plan(tmp_path / "plan.toml", shards, variants)
    path.write_text(path.read_text().replace('"ascnet"', '"untrained"', 1))
    plan = load(path)
    settings = {cell.variant.name: plan.settings(cell) for cell in plan.cells}
    assert [(name, s.optim.lr, s.objective.bank) for name, s in settings.items()] == [
        *((f"ascnet, lr {lr}, bank {n}", lr, n) for lr in (0.1, 0.2) for n in (64, 128)),
        ("untrained", load_recipe("demo").optim.lr, settings["untrained"].objective.bank),
    ]


def test_a_variant_may_have_fewer_seeds(shards, tmp_path):
    variants = "[variants.ascnet]\n[variants.few]\nseeds = [2, 0]\n"
    variants += '[variants.pixels]\nkind = "pixels"\nseeds = [1]\n'
    plan = load(write_plan(tmp_path / "plan.toml", shards, variants, "[0, 1, 2]"))
    cells = [(c.variant.name, c.seed) for c in plan.cells if c.data.name == "toy"]
    first, second, third = (
        [name for name, seed in cells if seed == number] for number in plan.seeds
    )
    assert first == ["ascnet", "few", "pixels"] and second == ["ascnet"]
    assert third == ["ascnet", "few"]


@pytest.mark.parametrize("name", [path.stem for path in sorted(PLANS.glob("*.toml"))])
def test_the_plans_can_be_loaded(name):
    plan = load(PLANS / f"{name}.toml")
    assert len({cell.folder(Path()) for cell in plan.cells}) == len(plan.cells)


def test_the_paper_s_objective_has_none_of_our_additions():
    plan = load(PLANS / "evidence.toml")
    objective = {cell.variant.name: plan.settings(cell).objective for cell in plan.cells}
    paper, ours = objective["the paper's objective"], objective["ours"]
    assert paper.momentum == paper.appearance_contrast == paper.decorrelation == 0
    assert paper.speed_target == "neighbour" and paper.speed_weight == paper.appearance_weight
    demo = load_recipe("demo").objective
    assert replace(ours, collapse_steps=demo.collapse_steps) == demo


def test_a_recipe_of_its_own_lies_beside_the_plan(shards, tmp_path, monkeypatch):
    path = write_plan(tmp_path / "plan.toml", shards, "[variants.ascnet]\n")
    path.write_text(path.read_text().replace('recipe = "demo"', 'recipe = "own.toml"'))
    (tmp_path / "own.toml").write_text("[optim]\nweight_decay = 0.5\n")
    monkeypatch.chdir("/")
    plan = load(path)
    assert plan.settings(plan.cells[0]).optim.weight_decay == 0.5


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("[variants.ascnet]", "[variants.other]", "baseline 'ascnet' is none of the variants"),
        ("[variants.ascnet]", '[variants.ascnet]\nkind = "magic"', "ascnet is of kind 'magic'"),
        ("[variants.ascnet]", '[variants.ascnet]\nset = ["optim.lr=-1"]', "optim.lr is -1"),
        ("seeds = [0]", "seeds = [0, 0]", "each once"),
        ("[variants.ascnet]", "[variants.ascnet]\nseeds = [0, 7]", "seeds of ascnet has 7, which"),
        ("[variants.ascnet]", '[variants.ascnet]\nkind = "trained"', "'trained' takes a run"),
        ("[variants.ascnet]", '[variants.ascnet]\nrun = "runs/mine"', "and no other kind does"),
        ("[data.toy]", '[data.toy]\nprotocol = ["size=0"]', "size is 0; allowed: 1 to 1024"),
        ("at_once = 2", "at_once = 0", "at_once is 0"),
        ("[data.toy]", "[data.toy]\nfolds = 1", "folds of toy is 1"),
        ("[data.toy]", "[data.toy]\nchoosing = true", "choosing is set for toy without folds"),
        ("[data.toy]", "[data.toy]\nshots = -1", "shots of toy is -1"),
        ("[data.toy]", '[data.toy]\nby_split = ["x"]', "by_split of toy names x, which is not"),
        ("recipe =", "receipt =", "no plan of an experiment"),
    ],
)
def test_what_is_no_plan(old, new, message, shards, tmp_path):
    path = write_plan(tmp_path / "plan.toml", shards, "[variants.ascnet]\n")
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(TrainerError, match=message):
        load(path)
