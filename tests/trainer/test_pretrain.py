import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from builder.errors import BuilderError
from trainer import pretrain
from trainer.checkpoint import list_checkpoints, load_last
from trainer.config import override
from trainer.errors import TrainerError
from trainer.run import LOG_FILE, start_run

CPU = torch.device("cpu")
NOT_TIMES = {"clips_per_second", "data_wait"}


def log_of(run):
    lines = [json.loads(line) for line in (run / LOG_FILE).read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in NOT_TIMES} for line in lines]


def same(a, b) -> bool:
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def test_what_a_run_leaves_behind(finished_run):
    assert [line["step"] for line in log_of(finished_run)] == [2, 4, 6, 8]
    line = log_of(finished_run)[-1]
    assert line["loss"] == pytest.approx(line["loss_appearance"] + line["loss_speed"], abs=1e-5)
    assert 0 < line["std_appearance"] <= line["std_healthy"] * 1.01
    assert 0 < line["std_speed"] <= line["std_healthy"] * 1.01
    assert line["with_neighbour"] == 1.0
    assert [int(path.stem) for path in list_checkpoints(finished_run)] == [6, 8]
    assert list(finished_run.glob("events.out*"))


def test_twice_the_same(finished_run, tiny, training_set, tmp_path):
    start_run(tmp_path / "again", tiny, training_set)
    pretrain.train(tmp_path / "again", tiny, training_set, CPU)
    assert log_of(tmp_path / "again") == log_of(finished_run)
    assert same(load_last(tmp_path / "again")[1], load_last(finished_run)[1])


def test_killed_and_resumed_equals_uninterrupted(
    finished_run, tiny, training_set, shards, tmp_path
):
    run = tmp_path / "killed"
    start_run(run, tiny, training_set)
    program = (
        "import sys, time, torch\nfrom pathlib import Path\nfrom trainer import config, pretrain\n"
        "from trainer.training_set import gather\n"
        "run, shards = Path(sys.argv[1]), Path(sys.argv[2])\n"
        "slow = lambda done, total, text: time.sleep(0.3)\n"
        "settings = config.load(run / 'config.toml')\n"
        "data = gather([shards], settings.data)\n"
        "pretrain.train(run, settings, data, torch.device('cpu'), slow)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program, str(run), str(shards)])
    deadline = time.monotonic() + 60
    while not list_checkpoints(run) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.4)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    steps = [int(path.stem) for path in list_checkpoints(run)]
    assert steps and steps[-1] < 8
    pretrain.train(run, tiny, training_set, CPU)
    assert log_of(run) == log_of(finished_run)
    assert same(load_last(run)[1], load_last(finished_run)[1])


def test_two_trainings_of_one_run(tiny, training_set, tmp_path):
    run, seen = tmp_path / "run", []
    start_run(run, tiny, training_set)

    def train_again(done: int, total: int, text: str) -> None:
        if not seen:
            with pytest.raises(BuilderError, match="Another process is writing to") as caught:
                pretrain.train(run, tiny, training_set, CPU)
            seen.append(caught.value)

    pretrain.train(run, tiny, training_set, CPU, train_again)
    assert seen


def test_total_steps(tiny):
    assert pretrain.total_steps(tiny, 1000) == 8
    epochs = override(tiny, ("optim.steps=0", "optim.epochs=2", "optim.batch=4"))
    assert pretrain.total_steps(epochs, 10) == 5
    assert pretrain.total_steps(epochs, 1) == 1


def test_a_loss_that_is_no_number_stops_the_run(tiny, training_set, tmp_path):
    wild = override(tiny, ("optim.lr=1e30", "optim.warmup=0.0"))
    start_run(tmp_path / "wild", wild, training_set)
    with pytest.raises(TrainerError, match=r"The loss is nan at step \d.*optim.lr"):
        pretrain.train(tmp_path / "wild", wild, training_set, CPU)


def test_no_decay_on_norms_and_biases(tiny):
    model = pretrain.make_model(tiny)
    decayed, free = pretrain.make_optimiser(model, tiny).param_groups
    assert decayed["weight_decay"] > 0 and free["weight_decay"] == 0
    assert {p.ndim for p in free["params"]} == {1}
    count = len(decayed["params"]) + len(free["params"])
    assert count == sum(p.requires_grad for p in model.parameters())


def test_same_seed_same_weights(tiny):
    def first_weight(*changes: str) -> torch.Tensor:
        return pretrain.make_model(override(tiny, changes)).encoder.backbone.stem[0].weight

    assert torch.equal(first_weight(), first_weight())
    assert not torch.equal(first_weight(), first_weight("seed=1"))
