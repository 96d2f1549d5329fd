"""Two processes on the CPU (gloo) against one."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.evaluate.finetune.ranks import (
    APART,
    BEGUN_BY_ONE,
    BEGUN_BY_TWO,
    STEPS_OF_ONE,
    go_on_alone,
    train_alone,
    train_in_ranks,
)
from tests.trainer.ranks import run_together

pytestmark = pytest.mark.slow
Outcome = dict[str, Any]


@pytest.fixture(scope="module")
def out(shards, tmp_path_factory) -> Path:
    """What one process left, then two, then one again."""
    folder = tmp_path_factory.mktemp("ranks")
    run_together(1, train_alone, shards, folder, cwd=folder, ends=(0,))
    said = run_together(2, train_in_ranks, shards, folder, cwd=folder, ends=(1, 1))
    (folder / "said").write_text("\n".join(said))
    run_together(1, go_on_alone, shards, folder, cwd=folder, ends=(0,))
    return folder


@pytest.fixture(scope="module")
def alone(out) -> Outcome:
    return torch.load(out / "one", weights_only=True)


@pytest.fixture(scope="module")
def ranks(out) -> list[Outcome]:
    return [torch.load(out / f"two.{number}", weights_only=True) for number in (0, 1)]


def close(one: torch.Tensor, two: torch.Tensor) -> bool:
    return torch.allclose(one, two, rtol=1e-7, atol=1e-10)


def are_close(one: Outcome, two: Outcome) -> bool:
    """Whether the loss of every step that both took, weights and logits are the same."""
    steps = min(len(one["losses"]), len(two["losses"]))
    losses = [torch.tensor(outcome["losses"][-steps:]) for outcome in (one, two)]
    assert one["weights"].keys() == two["weights"].keys()
    weights = (close(value, two["weights"][name]) for name, value in one["weights"].items())
    return close(*losses) and all(weights) and close(one["logits"], two["logits"])


@pytest.mark.parametrize("job", ["whole", "probe", "cut"])
def test_two_ranks_equal_one_with_the_joint_batch(job, alone, ranks):
    one, first, second = alone[job], ranks[0][job], ranks[1][job]
    assert are_close(one, first)
    for key in ("epoch", "top1"):
        assert one[key] == first[key]
    chosen_by = [[line["held_out_top1"] for line in run["epochs"]] for run in (one, first)]
    assert chosen_by[0] == chosen_by[1]
    for key in ("losses", "epochs", "weights_sha256"):
        assert first[key] == second[key]
    assert torch.equal(first["logits"], second["logits"])


def test_without_batch_norm_over_all_ranks_they_differ(alone, ranks):
    """That the comparison can fail."""
    assert not are_close(alone["whole"], ranks[0][APART])


def test_two_go_on_with_what_one_left(alone, ranks):
    """It was killed in its second epoch: they begin after the first."""
    one, two = alone["whole"], ranks[0][BEGUN_BY_ONE]
    assert are_close(one, two)
    assert len(one["losses"]) - STEPS_OF_ONE < len(two["losses"]) < len(one["losses"])


def test_a_signal_to_one_of_two_stops_both_and_one_goes_on(out, alone, ranks):
    """Asked after the third step, all stop after the next: they hear of it when that begins."""
    assert {rank["said"][BEGUN_BY_TWO] for rank in ranks} == {"KeyboardInterrupt "}
    went_on = torch.load(out / "went-on", weights_only=True)
    assert are_close(alone["whole"], went_on)
    assert len(went_on["losses"]) == len(alone["whole"]["losses"]) - 4


def test_what_ends_both_is_said_by_both(ranks):
    for words, job in (
        ("EvaluateError 2 processes cannot share a batch of 3 clips equally.", "uneven"),
        ("EvaluateError The loss is nan at step 1", "loss"),  # of one of them alone
        ("EvaluateError Weights are NaN or infinite after step 3", "weights"),
    ):
        assert all(rank["said"][job].startswith(words) for rank in ranks)


def test_a_damaged_frame_of_one_rank_ends_both_with_one_message(out):
    said = (out / "said").read_text()
    assert said.count("TrainerError: This frame is damaged.") == 1
    assert "Another process" not in said
