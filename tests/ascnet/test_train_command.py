"""`ascnet train` as people call it."""

import json
import os
import shutil
import signal
import socket
import sys
import time
import tomllib
from pathlib import Path

import pytest
import torch
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from ascnet import cli
from tests.commands import run_ascnet
from tests.conftest import TINY
from tests.processes import start, start_ascnet
from trainer.backbones.all_backbones import make_backbone
from trainer.config import recipe_file
from trainer.run.checkpoint import load_last
from trainer.step import Stepper

SETTINGS = [word for change in TINY for word in ("--set", change)]


def ascnet(*words: str | Path, cwd: Path, fails: bool = False) -> str:
    result = run_ascnet(*words, cwd=cwd)
    assert (result.returncode != 0) == fails, result.stderr
    return result.stderr if fails else result.stdout


def test_a_dry_run_says_all_and_leaves_nothing(shards, tmp_path):
    said = ascnet("train", shards, *SETTINGS, "--dry-run", cwd=tmp_path)
    recipe, _, rest = said.partition("Training on ")
    settings = tomllib.loads(recipe.partition("\n")[2])  # after "Recipe demo, as ..."
    assert settings["optim"]["steps"] == 8 and settings["model"]["dim"] == 8
    assert "training videos of split 1 (16 of 16 built)" in rest
    assert "8 steps of 4 videos, two clips each" in rest
    assert "903,984 weights in the backbone" in rest
    assert "GFLOPs a clip" in rest and "of memory on a device" in rest
    assert not list(tmp_path.iterdir())


def test_weights_to_start_with(shards, tmp_path):
    torch.manual_seed(3)
    backbone = make_backbone("r3d-tiny")
    weights = {f"module.encoder_q.{name}": value for name, value in backbone.state_dict().items()}
    torch.save({"state_dict": weights}, tmp_path / "w.pth")
    still = ["--set", "optim.steps=1", "--set", "optim.lr=1e-12", "--set", "optim.weight_decay=0"]
    said = ascnet(
        "train", shards, *SETTINGS, *still, "--init", "w.pth", "--run", "run", cwd=tmp_path
    )
    assert "loaded 72/72 tensors of" in said and "prefix module.encoder_q." in said
    state = load_last(tmp_path / "run")[1]["model"]
    for name, parameter in backbone.named_parameters():
        for copy in ("encoder", "target"):
            assert torch.allclose(state[f"{copy}.backbone.{name}"], parameter, atol=1e-6), name

    words = ["train", shards, "--set", "model.backbone=r3d18", "--init", "w.pth"]
    refused = ascnet(*words, cwd=tmp_path, fails=True)
    assert "w.pth fits 12 of the backbone's" in refused and "It fits r3d-tiny fully" in refused
    assert not (tmp_path / "runs").exists()


def test_what_may_change_on_resume_and_what_may_not(shards, tmp_path):
    ascnet("train", shards, *SETTINGS, "--run", "run", cwd=tmp_path)
    go_on = ["train", "--run", "run", "--resume"]
    ascnet(*go_on, "--set", "data.workers=2", "--set", "optim.lr=0.2", cwd=tmp_path)
    for assignment in ("optim.lr=0.3", "data.strides=[1,3]", "model.init=x.pth", "seed=9"):
        refused = ascnet(*go_on, "--set", assignment, cwd=tmp_path, fails=True)
        assert f"--set {assignment} differs from run/config.toml" in refused
        assert "data.workers, checkpoint_every" in refused and "except" in refused
    together = ["--set", "objective.neighbours=48", "--set", "objective.bank=64"]
    refused = ascnet(*go_on, *together, cwd=tmp_path, fails=True)
    assert f"{' '.join(together)} differs from run/config.toml" in refused


def test_an_edited_recipe_is_not_ignored_on_resume(shards, tmp_path):
    settings = recipe_file.override(recipe_file.load_recipe("demo"), TINY)
    recipe = tmp_path / "mine.toml"
    recipe.write_text(recipe_file.dump(settings))
    words = ["train", shards, "--recipe", recipe, "--run", "run", "--resume"]
    ascnet(*words, cwd=tmp_path)
    ascnet(*words, cwd=tmp_path)  # as it was
    recipe.write_text(recipe_file.dump(recipe_file.override(settings, ("optim.momentum=0.5",))))
    refused = ascnet(*words, cwd=tmp_path, fails=True)
    assert "has optim.momentum = 0.5, and run was started with 0.9" in refused


def test_epochs_of_a_recipe_with_steps(shards, tmp_path):
    words = ["train", shards, "--recipe", "demo", "--dry-run", "--set", "optim.epochs=5"]
    refused = ascnet(*words, cwd=tmp_path, fails=True)
    assert "optim.steps is 2200 in the recipe demo, so optim.epochs has no effect" in refused
    ascnet(*words, "--set", "optim.steps=0", cwd=tmp_path)


def test_a_damaged_checkpoint_is_a_warning(shards, tmp_path):
    ascnet("train", shards, *SETTINGS, "--run", "run", cwd=tmp_path)
    last = tmp_path / "run" / "checkpoints" / "00000008.pt"
    last.write_bytes(b"damaged")
    result = start_ascnet("train", "--run", "run", "--resume", cwd=tmp_path).end()
    assert result.stderr.startswith("Warning: run/checkpoints/00000008.pt is damaged; the")
    assert load_last(tmp_path / "run")[1]["step"] == 8


def test_streamed_from_a_pipe_and_resumed(shards, tmp_path):
    place = f"pipe:cat {shards}/{{}}"
    said = ascnet("train", place, *SETTINGS, "--run", "run", cwd=tmp_path)
    assert f"Training on {place}: " in said and "Shards are streamed" in said
    last = tmp_path / "run" / "checkpoints" / "00000008.pt"
    whole = last.read_bytes()
    last.unlink()
    go_on = ["train", "--run", "run", "--resume", "--trust-source"]
    assert "resuming after step 6" in ascnet(*go_on, cwd=tmp_path)
    assert last.read_bytes() == whole
    refused = ascnet("evaluate", "--run", "run", cwd=tmp_path, fails=True)
    assert "was trained on pipe:cat" in refused and "--shards" in refused
    other = tmp_path / "other"
    shutil.copytree(shards, other)
    words = ["train", other, "--run", "run", "--resume"]
    refused = ascnet(*words, cwd=tmp_path, fails=True)
    assert "run was started on shards that were streamed, and these would be read by" in refused


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["pipe:cat somewhere"], "{} there"),
        (["gopher://server/shards"], "gopher"),
        (["http://127.0.0.1:9/shards"], "cannot be read"),
        (["pipe:false {}"], "cannot be read"),
    ],
)
def test_places_that_give_nothing(words, message, tmp_path):
    assert message in ascnet("train", *words, cwd=tmp_path, fails=True)
    assert not (tmp_path / "runs").exists()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


def test_bf16_on_a_cpu_is_refused(shards, tmp_path):
    words = ["train", shards, "--recipe", "k400-r3d18"]
    refused = ascnet(*words, cwd=tmp_path, fails=True)
    assert "--set device.precision=fp32" in refused
    assert ascnet(*words, "--dry-run", cwd=tmp_path, fails=True) == refused  # nor is it approved of
    assert not list(tmp_path.iterdir())


def train_and_die_once(words: list[str]) -> None:
    """`ascnet train` in which the second process is killed at the first start's step 4."""
    update = Stepper._update

    def updated(self: Stepper, step: int) -> None:
        update(self, step)
        if os.environ["TORCHELASTIC_RESTART_COUNT"] == "0" and self.rank.number and step == 4:
            os.kill(os.getpid(), signal.SIGKILL)

    Stepper._update = updated
    sys.argv = ["ascnet", "train", *words]
    cli.main()


def launch_two(words: list[str], port: int) -> None:
    """What `torchrun --nproc-per-node=2 --max-restarts=1 --master-port=PORT` does, but that its
    processes are forked."""
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=2,
        rdzv_backend="static",
        rdzv_endpoint=f"127.0.0.1:{port}",
        rdzv_configs={"rank": 0},
        run_id="none",
        max_restarts=1,
        start_method="fork",
    )
    elastic_launch(config, train_and_die_once)(words)


def test_two_processes_by_torchrun_and_a_restart(shards, tmp_path):
    """One run directory, one log, one voice; the second start finds the run of the first."""
    words = [str(shards), *SETTINGS]
    result = start(launch_two, words, _free_port(), cwd=tmp_path).end()
    assert result.returncode == 0, result.stderr
    (run,) = (tmp_path / "runs").iterdir()
    assert f"Restart 1 of torchrun: resuming {run.relative_to(tmp_path)}." in result.stdout
    assert "resuming after step 4" in result.stdout
    assert result.stdout.count("r3d-tiny on 2 x cpu, 8 steps") == 2
    assert result.stderr.count("training 8/8 steps") == 1
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4, 6, 8]


def test_one_command_starts_a_run_and_goes_on_with_it(shards, tmp_path):
    """As a requeued job says it; a signal keeps what was done, and what differs is refused."""
    slow = ["--set", "optim.steps=5000", "--set", "checkpoint_every=9000", "--set", "milestones=0"]
    words = ["train", str(shards), *SETTINGS, *slow, "--run", "runs/job", "--resume"]
    job = start_ascnet(*words, cwd=tmp_path)
    log = tmp_path / "runs" / "job" / "log.jsonl"
    deadline = time.monotonic() + 120
    while not (log.exists() and log.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    job.process.terminate()
    ended = job.end(timeout=60)
    errors = ended.stderr
    assert ended.returncode == 143 and "Traceback" not in errors
    assert "There is no run in runs/job yet, so it is started." in ended.stdout
    (kept,) = (tmp_path / "runs" / "job" / "checkpoints").iterdir()
    kept_path = kept.relative_to(tmp_path)
    assert f"Stopped. The last checkpoint is {kept_path}. To continue: ascnet train --run" in errors
    assert errors.count("Stopped") == 1

    more = ["--set", "objective.collapse_steps=0", "--dry-run"]
    ascnet(*words, *more, cwd=tmp_path)
    refused = ascnet(*words, "--set", "optim.steps=9", cwd=tmp_path, fails=True)
    assert "differs from runs/job/config.toml" in refused
    config = tmp_path / "runs" / "job" / "config.toml"
    config.write_text(config.read_text().replace("steps = 5000", f"steps = {int(kept.stem) + 1}"))
    refused = ascnet("train", "--run", "runs/job", "--resume", cwd=tmp_path, fails=True)
    assert "optim.steps = " in refused and "(was 5000)" in refused


def train_without_stderr(shards: Path) -> None:
    """As Python starts with `2>&-`."""
    os.close(2)
    sys.stderr = sys.__stderr__ = None
    sys.argv = ["ascnet", "train", str(shards), *SETTINGS, "--run", "run"]
    cli.main()


def test_stderr_may_be_closed(shards, tmp_path):
    result = start(train_without_stderr, shards, cwd=tmp_path).end()
    assert result.returncode == 0, result.stdout
    assert "run: 8 steps, loss" in result.stdout
    assert load_last(tmp_path / "run")[1]["step"] == 8


def test_weights_to_start_with_that_are_no_numbers(shards, tmp_path):
    state = make_backbone("r3d-tiny").state_dict()
    state["stem.0.weight"][0, 0, 0, 0, 0] = float("nan")
    torch.save(state, tmp_path / "w.pth")
    words = ["train", shards, *SETTINGS, "--init", "w.pth"]
    refused = ascnet(*words, cwd=tmp_path, fails=True)
    assert "w.pth cannot be started from: NaN" in refused and "stem.0.weight" in refused
    assert not (tmp_path / "runs").exists()
