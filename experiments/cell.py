"""Compute one cell: train with one seed, measure, write `result.json`. Runs as its own process:

python -m experiments.cell PLAN OUT NUMBER

result.json     data, variant, seed; asked: all that the figures depend on; figures: in percent;
                last: the last line of the training's log; seconds, code.
                After a failure error, the message, in place of figures
run/            for ASCNet: the run directory, from which stopped training resumes
backbone.safetensors
                for peers: the backbone's weights, for `model.init` of other plans
"""

import json
import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from builder.atomic import write_atomically
from builder.decode.processes import end_with_parent
from builder.errors import BuilderError
from builder.shards.dataset import ShardDataset
from evaluate.errors import EvaluateError
from evaluate.features.encode import Network, Pooled, to_device
from experiments.hand_crafted import HAND_CRAFTED
from experiments.measure import Measures, figures_of
from experiments.peer_training import train_peer
from experiments.plan import ASCNET, CALIBRATED, TRAINED, UNTRAINED, Cell, Plan, load
from trainer.backbones.base import Backbone
from trainer.calibration import batch_norm_statistics
from trainer.config import recipe_file
from trainer.config.settings import Config
from trainer.data.training_set import TrainingSet, gather, locate
from trainer.errors import TrainerError
from trainer.pretrain import make_model, train
from trainer.run import checkpoint
from trainer.run.checkpoint import CONFIG_FILE, load_backbone
from trainer.run.log import LOG_FILE
from trainer.run.provenance import code
from trainer.run.run_directory import digest_of, must_be_same, record_of, start_run

RESULT, BACKBONE = "result.json", "backbone.safetensors"
_CPU = torch.device("cpu")


def compute(plan: Plan, cell: Cell, out: Path) -> dict[str, Any]:
    """Train and measure. Writes the result to the cell's `result.json`, and returns it. Errors of
    the three packages (BuilderError and the like) become part of the result."""
    folder, began = cell.folder(out), time.perf_counter()
    folder.mkdir(parents=True, exist_ok=True)
    result: dict[str, Any] = {
        "data": cell.data.name,
        "variant": cell.variant.name,
        "seed": cell.seed,
        "asked": plan.identity(cell),
    }
    try:
        result |= _measured(plan, cell, folder)
    except (BuilderError, EvaluateError, TrainerError) as error:
        result["error"] = str(error)
    result |= {"seconds": round(time.perf_counter() - began, 1), "code": code()}
    write_atomically(folder / RESULT, json.dumps(result, indent=1) + "\n")
    return result


def _measured(plan: Plan, cell: Cell, folder: Path) -> dict[str, Any]:
    settings, protocol = plan.settings(cell), plan.protocol(cell)
    data = cell.data
    network: Network
    last: dict[str, Any] = {}
    if hand_crafted := HAND_CRAFTED.get(cell.variant.kind):
        network = hand_crafted.features
        protocol = replace(protocol, size=hand_crafted.size, normalise=hand_crafted.normalise)
    else:
        backbone, last = _trained(settings, cell, folder)
        network = Pooled(backbone)
        to_device(network, _CPU)
    figures: dict[str, float] = {}
    for shards in data.test:
        measures = Measures(
            split=settings.data.split,
            folds=0 if shards in data.by_split else data.folds,
            factors=data.factors,
            choosing=data.choosing,
            shots=data.shots,
        )
        figures |= figures_of(network, ShardDataset(Path(shards)), protocol, measures)
    return {"figures": figures, "last": last}


def _trained(settings: Config, cell: Cell, folder: Path) -> tuple[Backbone, dict[str, Any]]:
    """Train, or load, the cell's backbone. Returns it and the last line of its training's log."""
    kind = cell.variant.kind
    if kind == UNTRAINED:
        return make_model(settings).encoder.backbone, {}
    if kind == TRAINED:
        return _finished(cell.run, cell.variant.step), {}
    data = gather(locate(cell.data.train, folder), settings.data)
    if kind == CALIBRATED:
        untrained = make_model(settings).encoder.backbone
        batch_norm_statistics(untrained, settings, data, _CPU)
        return untrained, {}
    if kind != ASCNET:
        backbone = train_peer(kind, settings, data)
        tensors = {name: tensor.contiguous() for name, tensor in backbone.state_dict().items()}
        write_atomically(folder / BACKBONE, safetensors.torch.save(tensors))
        return backbone, {}
    run = folder / "run"
    _begin(run, settings, data)
    train(run, settings, data, _CPU)
    kept = checkpoint.milestones(settings.optim.steps, settings.milestones)
    for older in checkpoint.list_checkpoints(run)[:-1]:
        if int(older.stem) not in kept:
            older.unlink()
    return load_backbone(run).backbone, _last_line(run)


def _finished(run: Path, step: int) -> Backbone:
    """The backbone at the end of a run, or of its milestone at a step (0: the end). Raises
    TrainerError if the run has not got there."""
    trained, steps = load_backbone(run, step or None), _last_line(run)["steps"]
    if trained.step < (step or steps):
        raise TrainerError(
            f"{run} is at step {trained.step} of {steps}. Let its plan finish it first."
        )
    return trained.backbone


def _last_line(run: Path) -> dict[str, Any]:
    """The last line of a run's log. Raises TrainerError if there is none."""
    log = run / LOG_FILE
    lines = log.read_text(encoding="utf-8").splitlines() if log.is_file() else []
    if not lines:
        raise TrainerError(f"{log} has no line. Remove {run} and let its plan train it anew.")
    line: dict[str, Any] = json.loads(lines[-1])
    return line


def _begin(run: Path, settings: Config, data: TrainingSet) -> None:
    """Resume a stopped run if it has the same settings and initial weights; else start anew."""
    if (
        (run / CONFIG_FILE).is_file()
        and recipe_file.load(run / CONFIG_FILE) == settings
        and record_of(run).get("init_sha256") == digest_of(settings.model.init)
    ):
        must_be_same(run, settings, data, 1)
        return
    shutil.rmtree(run, ignore_errors=True)
    start_run(run, settings, data)


def main(arguments: list[str]) -> None:
    end_with_parent()
    torch.set_num_threads(1)
    plan, out, number = load(Path(arguments[0])), Path(arguments[1]), int(arguments[2])
    compute(plan, plan.cells[number], out)


if __name__ == "__main__":
    main(sys.argv[1:])
