import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from builder.errors import BuilderError
from builder.shards.dataset import ShardDataset
from evaluate.errors import EvaluateError
from evaluate.finetune import checkpoint
from evaluate.finetune import finetune as module
from evaluate.finetune.finetune import FinetuneJob, finetune
from evaluate.finetune.trainer import Learner
from tests.processes import start
from tests.toy_task import CPU, FACTS, PROTOCOL, SETTINGS, changed, toy_task

ATTENTIVE = {"frozen": True, "head": "attentive", "optimiser": "adamw"}
STATE, RESULT = "state.pt", "result.pt"


class StopError(Exception):
    pass


def stop_after(number: int):
    def stop(done: int, total: int, text: str) -> None:
        if done >= number:
            raise StopError

    return stop


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"frozen": True, "dropout": 0.5},
        {"optimiser": "adamw", "lr": 0.001, "dropout": 0.5},
        ATTENTIVE,
        {"choose": "holdout", "schedule": "steps", "warmup": 0.1},
        pytest.param({"precision": "fp16"}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_stopped_and_resumed_equals_uninterrupted(changes, task, tmp_path):
    job = changed(task, epochs=4.0, **changes)
    if changes is ATTENTIVE:
        job = replace(job, protocol=replace(PROTOCOL, layer="layer3"))  # the last has one position
    expected = finetune(job, CPU, tmp_path / "whole")
    with pytest.raises(StopError):
        finetune(job, CPU, tmp_path / "stopped", stop_after(5))
    steps = []
    result = finetune(job, CPU, tmp_path / "stopped", lambda done, *_: steps.append(done))
    assert steps[0] > 1 and steps[-1] == expected.result["epochs"][-1]["steps"]
    assert result.result == expected.result
    assert (result.logits == expected.logits).all()


def finetune_slowly(shards: Path, folder: Path) -> None:
    task = toy_task(ShardDataset(shards))
    finetune(task, CPU, folder, lambda done, total, text: time.sleep(0.2))


def test_killed_and_resumed_equals_uninterrupted(whole, task, tmp_path, shards):
    folder = tmp_path / "killed"
    process = start(finetune_slowly, shards, folder, cwd=tmp_path)
    deadline = time.monotonic() + 60
    while not (folder / STATE).is_file() and process.runs() and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.end()
    assert (folder / STATE).is_file() and not (folder / RESULT).is_file()
    seen = []
    result = finetune(task, CPU, folder, lambda done, *_: seen.append(done))
    assert seen[0] > 1 and seen[-1] == 12
    assert result.result == whole.result and (result.logits == whole.logits).all()


def test_a_signal_keeps_the_step_that_it_came_in(whole, task, tmp_path):
    def ask_to_stop(done: int, total: int, text: str) -> None:
        if done == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(KeyboardInterrupt):
        finetune(task, CPU, tmp_path / "x", ask_to_stop)
    seen = []
    result = finetune(task, CPU, tmp_path / "x", lambda done, *_: seen.append(done))
    assert seen == list(range(4, 13))
    assert result.result == whole.result and (result.logits == whole.logits).all()


def test_stopped_while_it_was_tested(whole, task, tmp_path):
    with pytest.raises(StopError):
        finetune(task, CPU, tmp_path / "x", testing=stop_after(1))
    steps, tested = [], []
    result = finetune(
        task, CPU, tmp_path / "x", lambda *step: steps.append(step), lambda n, *_: tested.append(n)
    )
    assert not steps and tested[-1] == 8
    assert result.result == whole.result


def test_a_finished_one_is_only_read(task, tmp_path):
    folder, seen = tmp_path / "x", []
    first = finetune(task, CPU, folder)
    assert sorted(p.name for p in folder.iterdir()) == [".lock", RESULT]

    def note(*step) -> None:
        seen.append(step)

    again = finetune(task, CPU, folder, note, note)
    assert again.result == first.result and (again.logits == first.logits).all() and not seen
    finetune(changed(task, workers=2, recipe="mine"), CPU, folder, note, note)
    assert not seen  # neither has an influence on the numbers
    finetune(task, CPU, folder, note, note, overwrite=True)
    assert not seen  # nothing differs
    finetune(changed(task, seed=1), CPU, folder, note, note, overwrite=True)
    assert [step[0] for step in seen if step[1] == 12] == list(range(1, 13))


def test_begun_on_another_device(whole, task, tmp_path, monkeypatch):
    """It goes on, and a finished one is read: what computed it is recorded, and not compared."""
    server = {"device": "cuda", "torch": "2.99"}
    monkeypatch.setattr(module, "computed_on", lambda device: server)
    with pytest.raises(StopError):
        finetune(task, CPU, tmp_path / "x", stop_after(3))
    monkeypatch.undo()
    result = finetune(task, CPU, tmp_path / "x").result
    both = {"device": "cuda, cpu", "torch": f"2.99, {torch.__version__}"}
    assert result == whole.result | both
    monkeypatch.setattr(module, "computed_on", lambda device: server)
    assert finetune(task, CPU, tmp_path / "x").result == result


def test_another_task_in_the_folder_is_refused(task, tmp_path):
    folder = tmp_path / "x"
    with pytest.raises(StopError):
        finetune(task, CPU, folder, stop_after(3))
    with pytest.raises(
        EvaluateError, match=r"state\.pt was trained with settings\.lr 0\.01.*0\.1\. Pass --over"
    ):
        finetune(changed(task, lr=0.1), CPU, folder)
    finetune(task, CPU, folder)
    flip = replace(SETTINGS.augment, flip=0.0)
    fewer = replace(task.train, videos=task.train.videos[:-1], labels=task.train.labels[:-1])
    swapped = replace(task.test, labels=1 - task.test.labels)
    other = replace(task.subject, facts=FACTS | {"checkpoint_sha256": "b" * 64})
    for wrong, words in (
        (changed(task, augment=flip), r"settings\.augment\.flip 0\.5, and now it would be 0\.0"),
        (replace(task, protocol=replace(PROTOCOL, clips=3)), r"protocol\.clips 2, .* be 3"),
        (replace(task, classes=3), r"classes 2, .* be 3"),
        (replace(task, train=fewer), r"train videos [0-9a-f]{12}, "),
        (replace(task, test=swapped), r"test videos [0-9a-f]{12}, "),
        (replace(task, subject=other), r"weights of SHA-256 aaaaaaaaaaaa, .* be bbbbbbbbbbbb"),
    ):
        with pytest.raises(EvaluateError, match=rf"result\.pt was trained with {words}"):
            finetune(wrong, CPU, folder)


def test_another_head_is_refused_and_files_without_one_have_the_linear_layer(
    task, tmp_path, monkeypatch
):
    linear = changed(replace(task, protocol=replace(PROTOCOL, layer="layer3")), frozen=True)
    whole, all_of_it = finetune(linear, CPU, tmp_path / "whole").result, FinetuneJob.identity.fget

    def older(job: FinetuneJob) -> dict[str, object]:
        assert all_of_it is not None
        return {k: v for k, v in all_of_it(job).items() if not k.startswith("settings.head")}

    monkeypatch.setattr(FinetuneJob, "identity", property(older))
    with pytest.raises(StopError):
        finetune(linear, CPU, tmp_path / "x", stop_after(3))
    monkeypatch.undo()
    attentive = changed(linear, **ATTENTIVE)
    said = r"state\.pt was trained with settings\.head linear, and now it would be attentive\. Pass"
    with pytest.raises(EvaluateError, match=said):
        finetune(attentive, CPU, tmp_path / "x")
    assert finetune(linear, CPU, tmp_path / "x").result == whole
    assert finetune(attentive, CPU, tmp_path / "x", overwrite=True).result["heads"] == 1


@pytest.mark.parametrize("name", [STATE, RESULT])
@pytest.mark.parametrize("harm", ["cut", "flipped", "empty"])
def test_a_damaged_file_is_one_sentence(name, harm, task, tmp_path):
    folder = tmp_path / "x"
    if name == STATE:
        with pytest.raises(StopError):
            finetune(task, CPU, folder, stop_after(3))
    else:
        finetune(task, CPU, folder)
    path = folder / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes({"cut": content[:-300], "flipped": content, "empty": b""}[harm])
    with pytest.raises(EvaluateError, match=rf"{name} is damaged\. Pass --overwrite"):
        finetune(task, CPU, folder)
    assert finetune(task, CPU, folder, overwrite=True).result["top1"] == 100.0


def test_a_full_disk_leaves_the_epoch_before(whole, task, tmp_path, monkeypatch):
    folder, writes, write = tmp_path / "x", [], checkpoint.write_partial

    def full(path, content):
        writes.append(path)
        if len(writes) == 3:
            raise OSError(28, "No space left on device")
        return write(path, content)

    monkeypatch.setattr(checkpoint, "write_partial", full)
    with pytest.raises(EvaluateError, match=r"state\.pt: No space left on device\. Free space"):
        finetune(task, CPU, folder)
    seen = []
    assert finetune(task, CPU, folder, lambda n, *_: seen.append(n)).result == whole.result
    assert seen[0] == 5


def test_two_at_once(task, tmp_path):
    seen = []

    def again(*step) -> None:
        if not seen:
            with pytest.raises(BuilderError, match="Another process is writing to") as caught:
                finetune(task, CPU, tmp_path / "x")
            seen.append(caught.value)

    finetune(changed(task, epochs=1.0), CPU, tmp_path / "x", again)
    assert seen


def test_a_loss_that_is_no_number(task, tmp_path):
    with pytest.raises(
        EvaluateError,
        match=r"(The loss is|Weights are NaN).* step \d.*--set classifier\.lr=\.\.\., now 1e\+30",
    ):
        finetune(changed(task, lr=1e30), CPU, tmp_path / "x")
    assert not (tmp_path / "x" / RESULT).exists()


def test_gradients_that_overflow_are_not_kept(task, tmp_path, monkeypatch):
    take = Learner.take

    def overflow(self, clips, labels):
        loss = take(self, clips, labels)
        if self.step == 4:
            self.classifier.fc.bias.data.fill_(float("inf"))
        return loss

    monkeypatch.setattr(Learner, "take", overflow)
    with pytest.raises(EvaluateError, match="Weights are NaN or infinite after step 4"):
        finetune(task, CPU, tmp_path / "x")
    assert torch.load(tmp_path / "x" / STATE, weights_only=True)["step"] == 2
