import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ascnet.training_probe import RECALL, VOTE, training_probe
from builder.shards.dataset import ShardDataset
from evaluate.features.encode import Pooled
from evaluate.protocol import protocol_of
from experiments.measure import features_of
from tests.commands import refused, run_ascnet
from tests.conftest import TINY
from trainer import pretrain
from trainer.config.recipe_file import override
from trainer.errors import TrainerError
from trainer.pretrain import make_model, train
from trainer.run.checkpoint import load_last
from trainer.run.log import LOG_FILE
from trainer.run.run_directory import start_run

CPU = torch.device("cpu")
SETTINGS = [word for change in TINY for word in ("--set", change)]


def log_of(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / LOG_FILE).read_text().splitlines()]


def test_figures_are_logged_and_the_training_is_the_same(shards, finished_run, tmp_path):
    done = run_ascnet(
        *("train", shards, "--recipe", "demo", *SETTINGS, "--run", "run", "--probe-every", 3),
        cwd=tmp_path,
    )
    assert done.returncode == 0 and "of held-out groups" in done.stderr
    probed = {line["step"]: line for line in log_of(tmp_path / "run") if RECALL in line}
    assert list(probed) == [3, 6, 8]
    assert all(0 <= line[RECALL] <= 1 for line in probed.values())
    assert all(VOTE not in line for line in probed.values())  # of ten there are not enough
    ours, theirs = (load_last(run)[1] for run in (tmp_path / "run", finished_run))
    assert ours["step"] == theirs["step"]
    assert all(torch.equal(v, theirs["model"][name]) for name, v in ours["model"].items())


def test_recall_is_that_of_every_fifth_group_among_the_others(tiny, shards, training_set):
    backbone = make_model(tiny).encoder.backbone.train()
    probing = training_probe(2, tiny, training_set, CPU)
    figures = probing.look(backbone)
    assert backbone.training and figures == probing.look(backbone)

    protocol = replace(protocol_of(tiny), clips=4)
    dataset = ShardDataset(shards)
    features = features_of(Pooled(backbone).eval(), dataset, protocol)
    position = {video.name: i for i, video in enumerate(dataset.videos)}
    rows = features[[position[video.name] for video in training_set.videos]]
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    groups, labels = np.array(training_set.groups), np.array(training_set.labels)
    queries = np.isin(groups, np.unique(groups)[::5])
    nearest = (rows[queries] @ rows[~queries].T).argmax(axis=1)
    right = np.mean(labels[~queries][nearest] == labels[queries])
    assert figures[RECALL] == pytest.approx(right)


def test_a_vote_of_ten_where_there_are_ten(tiny, training_set):
    """Every video three times, in groups of their own: what is nearest is the video itself."""
    count = len(training_set.videos)
    thrice = replace(
        training_set,
        videos=training_set.videos * 3,
        labels=training_set.labels * 3,
        groups=tuple(i // count + 3 * (i % count) for i in range(3 * count)),
    )
    figures = training_probe(2, tiny, thrice, CPU).look(make_model(tiny).encoder.backbone)
    assert set(figures) == {RECALL, VOTE} and figures[RECALL] == 1.0 and 0 < figures[VOTE] <= 1


@pytest.mark.parametrize("change", [{"labels": -1}, {"groups": 0}])
def test_without_labels_or_groups_there_is_nothing_to_look_at(tiny, training_set, change):
    name, value = next(iter(change.items()))
    other = replace(training_set, **{name: (value,) * len(training_set.videos)})
    assert training_probe(2, tiny, other, CPU) is None


def test_that_it_measures_nothing_is_said(video_folder, tmp_path):
    folder = tmp_path / "videos"  # all in one folder, so without classes
    folder.mkdir()
    for path in sorted(video_folder.rglob("*.avi"))[:6]:
        (folder / path.name).symlink_to(path)
    for words in (
        ("build", "folder", "--source", folder, "--name", "mine", "--short-side", 32),
        ("train", "shards", "--recipe", "demo", *SETTINGS, "--dry-run", "--probe-every", 3),
    ):
        done = run_ascnet(*words, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    assert "Note: --probe-every measures nothing" in done.stdout


def test_a_probe_does_not_change_when_a_collapse_is_noticed(
    tiny, training_set, tmp_path, monkeypatch
):
    """Both runs see it at steps 4 and 8, though the probe writes lines at 3 and 6, too."""
    monkeypatch.setattr(pretrain, "embedding_stds", lambda *_: {"speed": 0.0})
    settings, seen = override(tiny, ("objective.collapse_steps=4", "log_every=4")), []
    for name, every in (("plain", None), ("probed", 3)):
        probing = every and training_probe(every, settings, training_set, CPU)
        start_run(tmp_path / name, settings, training_set)
        with pytest.raises(TrainerError, match="have collapsed") as error:
            train(tmp_path / name, settings, training_set, CPU, probing=probing or None)
        seen.append(str(error.value))
    assert seen[0] == seen[1] and "since step 4." in seen[0]


def test_streamed_shards_are_refused(tiny, training_set, shards, tmp_path):
    remote = replace(training_set, sources={shards: "http://127.0.0.1:9/shards"})
    with pytest.raises(TrainerError, match="--probe-every reads videos one by one"):
        training_probe(2, tiny, remote, CPU)
    assert "0 is not in the range" in refused("train", shards, "--probe-every", 0, cwd=tmp_path)
