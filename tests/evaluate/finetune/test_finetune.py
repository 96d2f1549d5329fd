import json
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch

from evaluate.errors import EvaluateError
from evaluate.features.encode import encode
from evaluate.finetune import finetune as module
from evaluate.finetune.clips import hold_out
from evaluate.finetune.finetune import BEST, LAST, finetune, video_logits
from evaluate.finetune.settings import Clips
from evaluate.finetune.trainer import Learner
from tests.toy_task import CPU, PROTOCOL, SETTINGS, changed, part, toy_task


def weights_of(backbone) -> dict[str, torch.Tensor]:
    return {k: v.clone() for k, v in backbone.state_dict().items()}


def same(a, b) -> bool:
    return a.keys() == b.keys() and all(torch.equal(v, b[k]) for k, v in a.items())


@pytest.fixture
def classifiers(monkeypatch) -> list:
    """Every classifier that is made."""
    made, whole = [], module.Classifier

    def make(*arguments, **named):
        made.append(whole(*arguments, **named))
        return made[-1]

    monkeypatch.setattr(module, "Classifier", make)
    return made


def test_it_learns_what_can_be_told_apart(whole, task):
    result = whole.result
    assert result["top1"] == 100.0
    assert result["top5"] is None  # of two classes it would say nothing
    losses = [line["loss"] for line in result["epochs"]]
    assert losses[-1] < 0.8 * losses[0] and losses[-1] == result["train_loss"]
    assert [line["epoch"] for line in result["epochs"]] == [1, 2, 3, 4, 5, 6]
    assert [line["steps"] for line in result["epochs"]] == [2, 4, 6, 8, 10, 12]
    assert (result["epoch"], result["chosen"]) == (6, LAST)
    assert (result["learned_from"], result["held_out"], result["tested_on"]) == (8, 0, 8)
    assert whole.predictions.dtype == np.int64
    assert (whole.predictions == task.test.labels).all()
    assert whole.logits.shape == (8, 2) and whole.logits.dtype == np.float32
    assert json.loads(json.dumps(result))["top1"] == 100.0


def test_it_learns_the_labels_that_it_is_given(task, tmp_path):
    swapped = replace(task, train=replace(task.train, labels=1 - task.train.labels))
    assert finetune(swapped, CPU, tmp_path / "x").result["top1"] == 0.0


def test_frozen_only_the_last_layer_learns(task, tmp_path, classifiers):
    before = weights_of(task.subject.backbone)
    result = finetune(changed(task, frozen=True, lr=0.5), CPU, tmp_path / "x").result
    (made,) = classifiers
    assert same(weights_of(made.features.backbone), before)  # statistics of batch norm, too
    assert made.fc.weight.abs().max() > 0.05  # it began with 0.01
    assert result["epochs"][-1]["loss"] < result["epochs"][0]["loss"]
    assert result["top1"] == 100.0


def test_end_to_end_all_learns_and_the_subject_stays(task, tmp_path, classifiers):
    before = weights_of(task.subject.backbone)
    finetune(changed(task, epochs=1.0), CPU, tmp_path / "x")
    after = weights_of(classifiers[0].features.backbone)
    assert all(not torch.equal(before[k], after[k]) for k in before)
    assert same(weights_of(task.subject.backbone), before)


def test_twice_the_same_and_another_seed_another_result(whole, task, tmp_path):
    """Workers have no influence."""
    again = finetune(changed(task, workers=3), CPU, tmp_path / "again")
    assert again.result["weights_sha256"] == whole.result["weights_sha256"]
    assert (again.logits == whole.logits).all()
    other = finetune(changed(task, seed=1), CPU, tmp_path / "other")
    assert other.result["weights_sha256"] != whole.result["weights_sha256"]


def test_progress_says_loss_and_epoch(task, tmp_path):
    texts = []
    finetune(
        changed(task, epochs=2.0, choose="holdout"),
        CPU,
        tmp_path / "x",
        lambda done, total, text: texts.append(text),
    )
    assert texts[0].startswith("loss 0.")
    assert "2 epochs done" not in texts[-2] and "1 epochs done" in texts[-2]
    assert "% of the held-out videos" in texts[-1]


def test_the_test_part_chooses_nothing(task, tmp_path):
    """Wrong labels in the test part: the same epoch, the same weights, another figure."""
    right = changed(task, choose="holdout")
    wrong = replace(right, test=replace(task.test, labels=np.zeros(8, np.int64)))
    both = [finetune(t, CPU, tmp_path / str(i)) for i, t in enumerate((right, wrong))]
    one, two = (done.result for done in both)
    for key in ("epoch", "weights_sha256", "epochs", "chosen", "learned_from", "held_out"):
        assert one[key] == two[key]
    assert one["chosen"] == BEST
    assert (one["learned_from"], one["held_out"]) == (7, 1)
    predictions = both[0].predictions
    assert (predictions == both[1].predictions).all()
    assert one["top1"] == 100 * (predictions == task.test.labels).mean()
    assert two["top1"] == 100 * (predictions == 0).mean()


def test_the_best_epoch_is_the_one_that_is_tested(task, tmp_path, monkeypatch, classifiers):
    """Epoch 2 is said to do best on the held-out videos; its weights are tested."""
    scores, after = iter([10.0, 90.0, 50.0, 90.0, 20.0, 0.0]), []

    def scored(learner, held_out, protocol):
        after.append(learner.classifier.learned())
        return next(scores)

    monkeypatch.setattr(module, "_held_out_top1", scored)
    result = finetune(changed(task, choose="holdout"), CPU, tmp_path / "x").result
    assert (result["epoch"], result["chosen"]) == (4, BEST)  # of equals the later one
    assert [line["held_out_top1"] for line in result["epochs"]][1] == 90.0
    assert same(classifiers[0].learned(), after[3]) and not same(after[3], after[5])


def test_held_out_videos_are_not_learnt_from(task, tmp_path, monkeypatch):
    names, requests = set(), module.train_requests

    def noted(videos, *arguments):
        names.update(v.name for v in videos)
        return requests(videos, *arguments)

    monkeypatch.setattr(module, "train_requests", noted)
    finetune(changed(task, choose="holdout", epochs=1.0), CPU, tmp_path / "x")
    learn, held_out = hold_out(task.train)
    assert names == {v.name for v in learn.videos}
    assert not names & {v.name for v in held_out.videos}


def test_fewer_videos_than_a_batch(task, tmp_path):
    """Batch norm would fail on a single one; batches are full whatever there is."""
    one = task.train.where(np.arange(8) == 0)
    result = finetune(replace(changed(task, batch=8, epochs=20.0), train=one), CPU, tmp_path).result
    assert result["learned_from"] == 1
    assert [line["epoch"] for line in result["epochs"]] == [11, 12]  # a step each
    assert result["top1"] == 50.0


def test_classes_that_the_train_part_lacks(task, tmp_path):
    train = replace(task.train, labels=task.train.labels * 4 + 2)  # 2 and 6 of 0 to 8
    test = replace(task.test, labels=np.array([0, 8, 2, 2, 6, 6, 6, 6]))
    done = finetune(replace(task, train=train, test=test, classes=9), CPU, tmp_path / "x")
    assert done.logits.shape == (8, 9)
    assert set(done.predictions.tolist()) <= {2, 6}
    assert done.result["top5"] >= done.result["top1"] == 75.0


def test_clips_of_training_may_differ(task, tmp_path, monkeypatch):
    seen, take = [], Learner.take

    def noted(self, clips, labels):
        seen.append(tuple(clips.shape))
        return take(self, clips, labels)

    monkeypatch.setattr(Learner, "take", noted)
    smaller = changed(task, epochs=1.0, train=Clips(frames=6, size=24))
    result = finetune(smaller, CPU, tmp_path / "x").result
    assert set(seen) == {(4, 3, 6, 24, 24)}
    assert result["train_clips"] == {"frames": 6, "stride": 2, "fps": 0.0, "size": 24}


def test_logits_are_averaged_over_clips(task, dataset):
    """A logit is the mean brightness of a clip: the video's is the mean over its clips."""

    class Bright:
        settings = SETTINGS
        device = CPU
        classifier = torch.nn.Identity()

        @staticmethod
        def logits(clips: torch.Tensor) -> torch.Tensor:
            return clips.mean(dim=(1, 2, 3, 4))[:, None]

        @staticmethod
        def multiplying(benchmark: bool) -> AbstractContextManager[None]:
            return nullcontext()

    videos, three = part(dataset.videos), replace(PROTOCOL, clips=3)
    together = video_logits(Bright, videos, three)
    assert together.shape == (16, 1)
    units = encode(Bright.logits, videos.videos, three, CPU)
    alone = torch.cat([logits for _, logits in units]).reshape(16, 3, 1)
    assert torch.allclose(torch.from_numpy(together), alone.mean(dim=1), atol=1e-6)
    assert alone.std(dim=1).max() > 0


def test_an_old_result_of_no_numbers_is_refused(task, tmp_path, monkeypatch):
    short, logits = changed(task, epochs=1.0), module.video_logits
    monkeypatch.setattr(module, "video_logits", lambda *some: np.nan * logits(*some))
    finetune(short, CPU, tmp_path / "x")
    monkeypatch.undo()
    with pytest.raises(EvaluateError, match=r"result\.pt has NaN or infinite logits.*--overw"):
        finetune(short, CPU, tmp_path / "x")
    again = finetune(short, CPU, tmp_path / "x", overwrite=True)
    assert np.isfinite(again.logits).all()


@pytest.mark.parametrize("choose", ["last", "holdout"])
def test_a_test_that_does_not_fit_the_gpu(task, tmp_path, monkeypatch, choose):
    """The batch of the training has nothing to do with it."""

    def too_much(*_, **__):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(module, "encode_together", too_much)
    with pytest.raises(EvaluateError, match="clips of the test do not fit") as error:
        finetune(changed(task, epochs=1.0, choose=choose), CPU, tmp_path / "x")
    assert "classifier.batch" not in str(error.value)


@pytest.mark.parametrize(("name", "value"), [("mean", np.nan), ("var", np.nan), ("var", -1.0)])
@pytest.mark.parametrize("choose", ["last", "holdout"])
def test_logits_that_are_no_numbers_give_no_figure(dataset, tmp_path, name, value, choose):
    """In training batch norm takes no statistic from the weights, and the loss is a number."""
    broken = toy_task(dataset)
    getattr(broken.subject.backbone.stem[1], f"running_{name}")[0] = value
    with pytest.raises(EvaluateError, match=r"The logits of .*\.avi are NaN or infinite"):
        finetune(changed(broken, choose=choose, epochs=1.0), CPU, tmp_path / "x")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: changed(t, precision="bf16"), r"precision is bf16 and the device is a CPU"),
        (lambda t: replace(t, train=part([])), "The train part has no labelled video"),
        (lambda t: replace(t, test=part([])), "The test part has no labelled video"),
        (
            lambda t: replace(t, test=replace(t.test, labels=t.test.labels - 1)),
            r"of the test part has label -1; with 2 classes labels are 0 to 1",
        ),
        (lambda t: replace(t, classes=1), r"of the train part has label 1; with 1 classes"),
        (
            lambda t: replace(changed(t, choose="holdout"), train=t.train.where(np.arange(8) < 4)),
            r"every 5th source group .*there are only 4\. Pass --set classifier\.choose=last",
        ),
        (
            lambda t: replace(t, protocol=replace(PROTOCOL, short_videos="error", frames=12)),
            r"too short for 12 frames at stride 2",
        ),
        (lambda t: replace(t, protocol=replace(PROTOCOL, layer="layer9")), "no layer 'layer9'"),
    ],
)
def test_what_cannot_be_done_is_said_at_once(change, words, task, tmp_path):
    with pytest.raises(EvaluateError, match=words):
        finetune(change(task), CPU, tmp_path / "x")
    assert not (tmp_path / "x" / "state.pt").exists()
