import json
import os
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from builder.errors import BuilderError
from tests.processes import start
from trainer import pretrain, step
from trainer.config.recipe_file import load, override
from trainer.data.augment import square_crop
from trainer.data.batches import training_batches
from trainer.data.training_set import gather
from trainer.distributed import ALONE
from trainer.errors import TrainerError
from trainer.method.ascnet import ASCNet
from trainer.run.checkpoint import list_checkpoints, load_last
from trainer.run.log import LOG_FILE, TIMES, TrainingLog
from trainer.run.run_directory import start_run
from trainer.step import Stepper
from trainer.training_state import TrainingState

CPU = torch.device("cpu")


def log_of(run):
    lines = [json.loads(line) for line in (run / LOG_FILE).read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in TIMES} for line in lines]


def same(a, b) -> bool:
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def train(run, settings, data, *more):
    """Train a new run, or go on with one."""
    if not run.exists():
        start_run(run, settings, data)
    return pretrain.train(run, settings, data, CPU, *more)


def test_what_a_run_leaves_behind(finished_run):
    assert [line["step"] for line in log_of(finished_run)] == [2, 4, 6, 8]
    line = log_of(finished_run)[-1]
    assert line["loss"] == pytest.approx(line["loss_appearance"] + line["loss_speed"], abs=1e-5)
    assert 0 < line["std_appearance"] <= line["std_healthy"] * 1.01
    assert 0 < line["std_speed"] <= line["std_healthy"] * 1.01
    assert line["with_neighbour"] == 1.0
    assert line["neighbour_same_group"] == 0.0  # siblings are excluded
    assert 0 <= line["neighbour_same_class"] <= 1
    assert 1 <= line["rank_appearance"] <= 8 and 1 <= line["rank_speed"] <= line["rank_healthy"] * 2
    assert 0 <= line["speed_told"] <= 1
    assert 0 < line["correlation"] < 1
    assert line["lr"] > 0
    kept = [int(path.stem) for path in list_checkpoints(finished_run)]
    assert kept == [2, 4, 6, 8]  # milestones 2, 4, 6, 8; the last two are 6 and 8
    assert list(finished_run.glob("events.out*"))


def test_twice_the_same(finished_run, tiny, training_set, tmp_path):
    run = tmp_path / "again"
    train(run, tiny, training_set)
    assert log_of(run) == log_of(finished_run)
    assert same(load_last(run)[1], load_last(finished_run)[1])


def train_slowly(run: Path, shards: Path) -> None:
    settings = load(run / "config.toml")
    data = gather({shards: str(shards)}, settings.data)
    pretrain.train(run, settings, data, CPU, lambda done, total, text: time.sleep(0.3))


def test_killed_and_resumed_equals_uninterrupted(
    finished_run, tiny, training_set, shards, tmp_path
):
    run = tmp_path / "killed"
    start_run(run, tiny, training_set)
    process = start(train_slowly, run, shards, cwd=tmp_path)
    deadline = time.monotonic() + 60
    while not list_checkpoints(run) and process.runs() and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.4)
    os.kill(process.pid, signal.SIGKILL)
    process.end()
    steps = [int(path.stem) for path in list_checkpoints(run)]
    assert steps and steps[-1] < 8, steps
    train(run, tiny, training_set)
    assert log_of(run) == log_of(finished_run)
    assert same(load_last(run)[1], load_last(finished_run)[1])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_is_obeyed_after_the_step_which_is_saved(
    number, finished_run, tiny, training_set, tmp_path
):
    run, rare = tmp_path / "run", override(tiny, ("checkpoint_every=100", "milestones=1"))
    before = signal.getsignal(number)

    def stop(done: int, total: int, text: str) -> None:
        if done == 3:
            os.kill(os.getpid(), number)

    with pytest.raises(KeyboardInterrupt):
        train(run, rare, training_set, stop)
    assert signal.getsignal(number) == before
    assert [path.name for path in list_checkpoints(run)] == ["00000003.pt"]
    train(run, rare, training_set)
    assert log_of(run) == log_of(finished_run)
    for part in ("model", "optimiser"):
        assert same(load_last(run)[1][part], load_last(finished_run)[1][part])


def test_a_signal_while_clips_are_waited_for(tiny, training_set, tmp_path, monkeypatch):
    """It ends the wait; what was learnt before it is saved."""
    read = pretrain.training_batches

    def stalled(*arguments):
        batches = read(*arguments)
        for _ in range(2):
            yield next(batches)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)

    monkeypatch.setattr(pretrain, "training_batches", stalled)
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "run", tiny, training_set)
    assert time.monotonic() - began < 50
    assert load_last(tmp_path / "run")[1]["step"] == 2


def test_a_second_ctrl_c_stops_within_the_step(tiny, training_set, tmp_path, monkeypatch, capsys):
    def hangs(self, step: int) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Stepper, "_update", hangs)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "run", tiny, training_set)
    assert not list_checkpoints(tmp_path / "run")
    assert "Ctrl-C again stops at once" in capsys.readouterr().err


@pytest.mark.parametrize(
    "line",
    [
        b"\x00\x00\x00}",
        b"\xff\xfe}",
        b'{"step": 4, "loss": 1.0',
        b"[" * 5000 + b"}",
        b'{"step": 1}',
        b'{"step": "4"}',
        b"[4]",
    ],
)
def test_a_damaged_line_of_the_log_is_dropped_with_a_warning(
    line, finished_run, tiny, training_set, tmp_path, caplog
):
    shutil.copytree(finished_run, tmp_path / "run")
    path = tmp_path / "run" / LOG_FILE
    lines = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([*lines[:2], line, *lines[2:]]) + b"\n")
    assert train(tmp_path / "run", tiny, training_set)["step"] == 8
    assert log_of(tmp_path / "run") == log_of(finished_run)
    assert f"{path}: what cannot be read is dropped, line 3." in caplog.text


def test_a_loss_that_is_no_number_at_first_is_not_blamed_on_learning(
    tiny, training_set, tmp_path, monkeypatch
):
    def spoilt(*arguments):
        return augment(*arguments) * float("nan")

    augment = step.augment
    monkeypatch.setattr(step, "augment", spoilt)
    with pytest.raises(TrainerError, match="nan at step 1, before any weight was changed") as said:
        train(tmp_path / "run", tiny, training_set)
    assert "optim.lr" not in str(said.value)


def test_two_trainings_of_one_run(tiny, training_set, tmp_path):
    run, seen = tmp_path / "run", []

    def train_again(done: int, total: int, text: str) -> None:
        if not seen:
            with pytest.raises(BuilderError, match="Another process is writing to") as caught:
                train(run, tiny, training_set)
            seen.append(caught.value)

    train(run, tiny, training_set, train_again)
    assert seen


def test_a_damaged_last_checkpoint_costs_steps_but_not_the_run(
    finished_run, tiny, training_set, tmp_path, caplog
):
    run = tmp_path / "damaged"
    shutil.copytree(finished_run, run)
    last = list_checkpoints(run)[-1]
    last.write_bytes(last.read_bytes()[:-5000])
    steps = []
    train(run, tiny, training_set, lambda done, total, text: steps.append(done))
    assert "00000008.pt is damaged" in caplog.text
    assert steps == [7, 8]
    assert log_of(run) == log_of(finished_run)
    assert same(load_last(run)[1], load_last(finished_run)[1])


def test_a_loss_that_is_no_number_stops_the_run(tiny, training_set, tmp_path):
    wild = override(tiny, ("optim.lr=1e30", "optim.warmup=0.0"))
    run = tmp_path / "wild"
    with pytest.raises(TrainerError, match=r"The loss is nan at step (\d).*optim.lr") as caught:
        train(run, wild, training_set)
    (kept,) = run.glob("failed-step-*.pt")
    assert str(kept) in str(caught.value)
    state = torch.load(kept, weights_only=True)
    assert kept.name == f"failed-step-{state['step'] + 1:08d}-rank0.pt"
    assert len(state["videos"]) == len(state["frames"]) == 8
    assert {"model", "optimiser", "strides"} <= state.keys()


def test_a_loss_that_is_no_number_never_reaches_the_weights(
    tiny, training_set, tmp_path, monkeypatch
):
    """The loss of step 3 is made NaN; the weights that are kept are those after step 2."""
    settings = override(tiny, ("milestones=0", "checkpoint_every=2"))
    run, calls, whole = tmp_path / "run", [], ASCNet.forward

    def third_is_nan(self, *arguments):
        losses = whole(self, *arguments)
        calls.append(0)
        bad = losses.loss * float("nan")
        return replace(losses, loss=bad, total=losses.total * bad) if len(calls) == 3 else losses

    monkeypatch.setattr(ASCNet, "forward", third_is_nan)
    with pytest.raises(TrainerError, match="The loss is nan at step 3"):
        train(run, settings, training_set)
    kept = torch.load(run / "failed-step-00000003-rank0.pt", weights_only=True)["model"]
    path, state = load_last(run)
    assert path.name == "00000002.pt"
    weights = [name for name, p in pretrain.make_model(settings).named_parameters()]
    assert all(torch.equal(kept[name], state["model"][name]) for name in weights)


def test_weights_that_are_no_numbers_are_not_saved(tiny, training_set, tmp_path, monkeypatch):
    """Gradients overflow while the loss is finite."""
    settings = override(tiny, ("milestones=0", "checkpoint_every=2", "optim.steps=4"))
    run, update = tmp_path / "run", Stepper._update

    def overflow(self, step):
        if step == 3:
            next(self.state.model.parameters()).grad.fill_(float("inf"))
        update(self, step)

    monkeypatch.setattr(Stepper, "_update", overflow)
    with pytest.raises(TrainerError, match="Weights are NaN or infinite at step 4"):
        train(run, settings, training_set)
    assert load_last(run)[1]["step"] == 2


def test_a_collapse_stops_the_run(tiny, training_set, tmp_path, monkeypatch):
    """A projector that gives the same for every clip, and hardly learns."""
    limits = ("objective.collapse=0.1", "objective.collapse_steps=2", "optim.lr=1e-6")
    settings = override(tiny, (*limits, "optim.steps=6"))
    assert train(tmp_path / "healthy", settings, training_set)["step"] == 6

    def collapsed(settings):
        model = whole(settings)
        for encoder in (model.encoder, model.target):
            torch.nn.init.zeros_(encoder.speed[-1].weight)
        return model

    whole = pretrain.make_model
    monkeypatch.setattr(pretrain, "make_model", collapsed)
    with pytest.raises(TrainerError, match=r"The speed embeddings have collapsed.*since step 2"):
        train(tmp_path / "collapse", settings, training_set)
    last = log_of(tmp_path / "collapse")[-1]
    assert last["step"] == 4
    assert last["std_speed"] < 0.1 * last["std_healthy"] < last["std_appearance"]

    regardless = override(settings, ("objective.collapse_steps=0",))
    assert train(tmp_path / "regardless", regardless, training_set)["step"] == 6


@pytest.mark.parametrize(
    "changes",
    [
        ("optim.optimiser=lars", "optim.accumulate=2", "optim.clip=1"),
        ("optim.optimiser=adamw", "optim.lr=0.01", "objective.momentum=0"),
        ("device.precision=tf32", "device.channels_last=false"),
        ("device.precision=fp16", "data.frames=2"),
        ("data.fps=12.5", "data.replacement=true", "objective.neighbours=3"),
        ("data.streaming=true", "data.shuffle_buffer=3"),
        ("objective.appearance_weight=0",),
        ("objective.speed_weight=0",),
    ],
)
def test_every_way_of_training_is_resumed_exactly(changes, tiny, training_set, shards, tmp_path):
    settings = override(tiny, ("optim.steps=4", "milestones=0", "checkpoint_every=2", *changes))
    data = gather({shards: str(shards)}, settings.data)
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    train(whole, settings, data)

    def stop_after_three(done: int, total: int, text: str) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(resumed, settings, data, stop_after_three)
    assert load_last(resumed)[1]["step"] == 2
    train(resumed, settings, data)
    assert log_of(resumed) == log_of(whole)
    assert same(load_last(resumed)[1], load_last(whole)[1])


@pytest.mark.slow  # bf16 on a CPU
def test_bf16_is_close_to_fp32(tiny, training_set, tmp_path):
    """20 frames: where feature maps are 2 long in time, torch's bf16 gradients of convolutions are
    wrong on CPUs, and elsewhere they differ in their last bits from run to run."""
    few = ("data.frames=20", "optim.steps=2", "log_every=1")
    for name in ("fp32", "bf16"):
        settings = override(tiny, (f"device.precision={name}", *few))
        train(tmp_path / name, settings, training_set)
    for line, exact in zip(log_of(tmp_path / "bf16"), log_of(tmp_path / "fp32"), strict=True):
        assert line["loss"] == pytest.approx(exact["loss"], rel=0.2)
    first, exact = log_of(tmp_path / "bf16")[0], log_of(tmp_path / "fp32")[0]
    assert first["std_appearance"] == pytest.approx(exact["std_appearance"], rel=0.1)
    weights = load_last(tmp_path / "bf16")[1]["model"]
    assert {v.dtype for v in weights.values()} == {torch.float32, torch.int64}


def test_parts_of_a_batch_see_the_clips_of_the_whole(tiny, training_set, tmp_path):
    """Two parts a step: as many clips, and after the first step another model, for batch norm is
    over each part."""
    seen = {}
    for parts in (1, 2):
        settings = override(tiny, ("optim.steps=2", f"optim.accumulate={parts}"))
        batches = training_batches(settings, training_set, 0, 2, ALONE, CPU)
        seen[parts] = [sorted(b.videos.tolist()) for b in batches]
    assert [len(b) for b in seen[1]] == [8, 8] and [len(b) for b in seen[2]] == [4] * 4
    assert sorted(seen[2][0] + seen[2][1]) == seen[1][0]


def test_the_gradient_of_parts_is_their_mean(tiny, training_set, tmp_path, monkeypatch):
    """Two parts of the same clips, seen in the same way, have the gradient of one."""

    def square(clips, settings, size, numbers, normalise):
        return square_crop(clips, size, normalise=normalise)

    monkeypatch.setattr(step, "augment", square)
    gradients = []
    for parts in (1, 2):
        changes = ("objective.speed_weight=0", f"optim.batch={4 * parts}")
        settings = override(tiny, (*changes, f"optim.accumulate={parts}"))
        state = TrainingState(pretrain.make_model(settings), settings, CPU)
        batch = next(training_batches(settings, training_set, 0, 1, ALONE, CPU))
        stepper = Stepper(tmp_path, settings, training_set, state, state.model, 8, ALONE, CPU)
        stepper.take(0, iter([batch] * parts))
        gradients.append([weight.grad for weight in state.model.encoder.backbone.parameters()])
    for one, two in zip(*gradients, strict=True):
        torch.testing.assert_close(two, one, rtol=1e-4, atol=1e-7)


def test_scp_is_in_the_loss_after_its_warm_up(tiny, training_set, tmp_path):
    changes = ("objective.speed_warmup=0.5", "optim.steps=4", "log_every=1")
    train(tmp_path / "run", override(tiny, changes), training_set)
    lines = log_of(tmp_path / "run")
    is_out = [line["loss"] == pytest.approx(line["loss_appearance"], abs=1e-5) for line in lines]
    assert is_out == [True, True, False, False]


def test_the_penalty_is_in_the_loss_that_is_logged(tiny, training_set, tmp_path):
    settings = override(tiny, ("objective.decorrelation=2", "optim.steps=2"))
    line = train(tmp_path / "run", settings, training_set)
    parts = line["loss_appearance"] + line["loss_speed"] + 2 * line["correlation"]
    assert line["loss"] == pytest.approx(parts, abs=1e-5) and line["correlation"] > 0.01


def test_hours_are_projected_after_fifty_steps_and_what_is_unknown_is_not_said(tmp_path):
    log = TrainingLog(tmp_path, first=100, total=1000)
    numbers = dict.fromkeys(
        ("loss", "loss_appearance", "loss_speed", "std_appearance", "std_speed", "std_healthy"), 1.0
    ) | dict.fromkeys(("rank_appearance", "rank_speed", "rank_healthy", "speed_told"), 9.0)
    numbers["correlation"] = 0.25
    said = log.write(149, numbers, (10, 0.0))
    assert said.startswith("std 100/100%, rank 100/100%, speed R² 900%, loss 1.000, ACP 1.000, S")
    assert "h for all" not in said
    assert "h for all 1000 steps" in log.write(150, numbers, (10, 0.0))
    assert "speed R² 900%, " in log.write(151, numbers, (10, 0.0))
    assert "speed R²" not in log.write(152, numbers | {"speed_told": None}, (10, 0.0))
    log.close()
    lines = [json.loads(line) for line in (tmp_path / LOG_FILE).read_text().splitlines()]
    assert lines[0]["hours_in_all"] is None
    assert 0 < lines[1]["hours_in_all"] < 1


def test_same_seed_same_weights(tiny):
    def first_weight(*changes: str) -> torch.Tensor:
        return pretrain.make_model(override(tiny, changes)).encoder.backbone.stem[0].weight

    assert torch.equal(first_weight(), first_weight())
    assert not torch.equal(first_weight(), first_weight("seed=1"))
