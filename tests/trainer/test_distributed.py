"""Two processes on the CPU (gloo) against one.

The comparisons are made with 64-bit numbers: with 32 bits the order of sums moves some unit across
the ReLU's corner now and then, and a gradient is then another one, not one that is nearly the same.
"""

import json
import socket
import time

import pytest
import torch

from tests.trainer.ranks import (
    after_three_steps,
    get_a_signal,
    get_killed,
    spoil_weights,
    train_together,
)
from trainer.config.recipe_file import override
from trainer.data.batches import part_size
from trainer.distributed import Rank, gather_pairs, own_pairs, sum_over_ranks, together, world
from trainer.errors import TrainerError
from trainer.run.run_directory import start_run

MASTER = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}


@pytest.fixture(scope="module")
def settings(tiny):
    """More neighbours are wanted than the bank has for a clip: ranks find unequal numbers."""
    changes = ("optim.batch=8", "objective.bank=24", "objective.neighbours=16", "optim.lr=0.05")
    ours = ("objective.decorrelation=2", "objective.appearance_contrast=0.7")
    return override(tiny, (*changes, *ours))


def close(a: torch.Tensor, b: torch.Tensor) -> bool:
    return torch.allclose(a, b, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("target", ["neighbour", "direction"])
def test_two_ranks_give_the_gradients_of_one_with_the_joint_batch(
    target, settings, shards, tmp_path
):
    settings = override(settings, (f"objective.speed_target={target}",))
    (alone,) = after_three_steps(1, settings, shards, tmp_path / "one")
    first, second = after_three_steps(2, settings, shards, tmp_path / "two")
    assert close(first["seen"], alone["seen"])
    assert alone["seen"][-1, 2] > 0  # SCP takes part
    assert first["gradients"].keys() == alone["gradients"].keys()
    for name, gradient in alone["gradients"].items():
        assert close(first["gradients"][name], gradient), name
        assert torch.equal(first["gradients"][name], second["gradients"][name]), name
    one, two = alone["state"]["model"], first["state"]["model"]
    assert one.keys() == two.keys()
    for name, value in one.items():  # the bank's order, too
        assert close(two[name], value), name
        assert torch.equal(two[name], second["state"]["model"][name]), name
    # That the comparison can fail: without batch norm over all ranks it does.
    apart = override(settings, ("device.sync_bn=false",))
    first, _ = after_three_steps(2, apart, shards, tmp_path / "apart")
    wrong = [n for n, g in alone["gradients"].items() if not close(first["gradients"][n], g)]
    assert len(wrong) > len(alone["gradients"]) / 2


def test_parts_of_a_batch_add_up(settings, shards, tmp_path):
    """Two parts on one rank and two parts on two ranks: the same."""
    parts = override(settings, ("optim.accumulate=2",))
    one = after_three_steps(1, parts, shards, tmp_path / "one")[0]
    two, _ = after_three_steps(2, parts, shards, tmp_path / "two")
    for name, gradient in one["gradients"].items():
        assert close(two["gradients"][name], gradient), name


def test_a_run_of_two_ranks_goes_on_as_one(settings, training_set, shards, tmp_path):
    """Checkpoints are the same whatever the number of ranks; rank 0 writes them."""
    run = tmp_path / "run"
    start_run(run, settings, training_set)
    said = train_together(2, run, shards)
    assert [line.split()[-2:] for line in said] == [["0", "8"], ["1", "None"]]
    (run / "checkpoints" / "00000008.pt").unlink()
    assert train_together(1, run, shards) == ["0 8"]


@pytest.mark.slow  # bf16 on a CPU
def test_two_ranks_in_bf16(settings, training_set, shards, tmp_path):
    few = ("data.frames=20", "optim.steps=2", "log_every=1")
    half = override(settings, ("device.precision=bf16", *few))
    run = tmp_path / "run"
    start_run(run, half, training_set, ranks=2)
    train_together(2, run, shards)
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2]
    assert all(0 < line["std_appearance"] < 1 and line["loss"] < 8 for line in lines)


def test_a_loss_that_is_no_number_on_one_of_two_ranks(settings, training_set, shards, tmp_path):
    """Both say so, and both keep their clips before one of them ends."""
    run = tmp_path / "run"
    start_run(run, settings, training_set, ranks=2)
    for number, said in enumerate(train_together(2, run, shards, spoilt=True)):
        assert "The loss is nan at step 1" in said
        kept = run / f"failed-step-00000001-rank{number}.pt"
        assert str(kept) in said
        assert len(torch.load(kept, weights_only=True)["videos"]) == 8
    assert not list(run.glob("*.partial"))


def test_weights_that_are_no_numbers_on_one_of_two_ranks(settings, training_set, shards, tmp_path):
    """Both say so before one of them ends: none waits for the other in the next step."""
    run = tmp_path / "run"
    start_run(run, override(settings, ("milestones=0",)), training_set, ranks=2)
    for said in train_together(2, run, shards, after=spoil_weights):
        assert "Weights are NaN or infinite at step 3" in said
    assert not (run / "checkpoints").exists()


def test_a_signal_to_one_of_two_ranks_stops_both_and_saves(
    settings, training_set, shards, tmp_path
):
    run = tmp_path / "run"
    rare = override(settings, ("milestones=0", "checkpoint_every=100"))
    start_run(run, rare, training_set, ranks=2)
    said = train_together(2, run, shards, after=get_a_signal)
    assert said == ["KeyboardInterrupt", "KeyboardInterrupt"]
    assert [path.name for path in (run / "checkpoints").glob("*")] == ["00000004.pt"]


def test_a_rank_that_is_killed_ends_the_other(settings, training_set, shards, tmp_path):
    run = tmp_path / "run"
    start_run(run, settings, training_set, ranks=2)
    said, _ = train_together(2, run, shards, after=get_killed, ends=(1, -9))
    assert time.time() - (run / "killed").stat().st_mtime < 30
    assert said.count("LostRankError: Another process of this command ended") == 1


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"WORLD_SIZE": "2"}, "RANK is not set"),
        ({"WORLD_SIZE": ""}, "WORLD_SIZE is '', and it has to be a number, 1 or more"),
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE is 'two'"),
        ({"WORLD_SIZE": "0"}, "WORLD_SIZE is '0'"),
        ({"WORLD_SIZE": "2", "RANK": ""}, "RANK is empty"),
        ({"WORLD_SIZE": "2", "RANK": "0"}, "MASTER_ADDR is not set"),
        ({"WORLD_SIZE": "2", "RANK": "2", **MASTER}, "RANK is 2, but WORLD_SIZE is 2: ranks are 0"),
        ({"WORLD_SIZE": "2", "RANK": "-1", **MASTER}, "RANK is '-1'"),
        ({"WORLD_SIZE": "2", "RANK": "0", **MASTER, "MASTER_PORT": "x"}, "MASTER_PORT is 'x'"),
        ({"WORLD_SIZE": "2", "RANK": "0", **MASTER, "MASTER_PORT": "99999"}, "99999; ports are 1"),
    ],
)
def test_variables_of_torchrun_that_are_missing_or_wrong(variables, said, monkeypatch):
    for name in ("WORLD_SIZE", "RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(TrainerError, match=said) as error, together("cpu"):
        raise AssertionError("joined")
    assert "env -u WORLD_SIZE" in str(error.value)


def test_one_gpu_for_all_ranks(monkeypatch):
    for name, value in {"WORLD_SIZE": "2", "RANK": "0", **MASTER}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(TrainerError, match="--device is cuda:1, and each of"), together("cuda:1"):
        raise AssertionError("joined")


def test_a_port_that_is_taken(monkeypatch):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        variables = MASTER | {"MASTER_PORT": str(other.getsockname()[1])}
        for name, value in (variables | {"WORLD_SIZE": "2", "RANK": "0"}).items():
            monkeypatch.setenv(name, value)
        with (
            pytest.raises(TrainerError, match=r"taken by another program\. Choose a free port"),
            together("cpu"),
        ):
            raise AssertionError("joined")


def test_ranks_that_cannot_share_the_batch(tiny):
    assert part_size(override(tiny, ("optim.batch=8", "optim.accumulate=2")), 2) == 4
    for world_size in (3, 4):
        with pytest.raises(TrainerError, match=rf"{world_size} processes cannot share 4 videos"):
            part_size(tiny, world_size)


def test_alone_nothing_is_gathered():
    with together("cpu") as (rank, device):
        assert (rank, device.type, world()) == (Rank(0, 1), "cpu", 1)
        rows = torch.arange(8)
        assert gather_pairs(rows) is rows and sum_over_ranks(rows) is rows
        assert own_pairs(rows, rank).tolist() == rows.tolist()
        assert own_pairs(rows, Rank(1, 2)).tolist() == [2, 3, 6, 7]
