from hashlib import sha256

import pytest
import safetensors.torch
import torch

from builder.shards.dataset import ShardDataset
from builder.shards.manifest import fingerprint
from evaluate.encoders import of_file, of_run, recipe_for
from evaluate.errors import EvaluateError
from trainer.backbones.all_backbones import BACKBONES, make_backbone
from trainer.config import recipe_file
from trainer.errors import TrainerError
from trainer.pretrain import make_model, train
from trainer.run.checkpoint import load_backbone
from trainer.run.run_directory import start_run


def test_the_untrained_one_is_what_training_began_with(finished_run, tiny):
    both = of_run(finished_run)
    start = make_model(tiny).encoder.backbone.state_dict()
    assert all(torch.equal(v, start[k]) for k, v in both.untrained.backbone.state_dict().items())
    first = both.trained.backbone.stem[0].weight
    assert not torch.equal(first, both.untrained.backbone.stem[0].weight)
    assert both.untrained.facts["checkpoint_sha256"] == "none"
    assert both.trained.facts["checkpoint_sha256"] == load_backbone(finished_run).sha256
    assert both.folder == finished_run and both.record["shards"]


def test_the_calibrated_one_has_statistics_of_training_clips(finished_run, dataset):
    both = of_run(finished_run)
    calibrated = both.calibrated(dataset, "1")
    assert calibrated.row == "calibrated" and calibrated.facts["encoder"] == "calibrated"
    before = {k: v.clone() for k, v in calibrated.backbone.state_dict().items()}
    calibrated.complete(torch.device("cpu"))
    differ = {k for k, v in calibrated.backbone.state_dict().items() if not v.equal(before[k])}
    assert differ and all("running" in name or "num_batches" in name for name in differ)
    untrained = both.untrained.backbone.state_dict()
    assert all(torch.equal(untrained[name], value) for name, value in before.items())


def test_the_identity_of_a_calibrated_one_is_that_of_earlier_versions(finished_run, dataset):
    """SCP's target "neighbour" was called "place", and stores hold a hash of the settings."""
    both = of_run(finished_run)
    text = recipe_file.dump(recipe_file.fixed(both.settings))
    assert 'speed_target = "neighbour"' in text
    before = text.replace('"neighbour"', '"place"') + fingerprint(dataset.folder)
    facts = both.calibrated(dataset, "1").facts
    assert facts["batch_norm_sha256"] == sha256(before.encode()).hexdigest()


def test_a_checkpoint_that_is_not_the_last_says_so(finished_run):
    assert of_run(finished_run, 4).trained.facts["milestone"] == 4
    last = of_run(finished_run, 8)
    assert last.milestone == 0 and last.trained.facts == of_run(finished_run).trained.facts


def test_a_file_of_weights(dataset, tmp_path):
    weights = make_backbone("r3d-tiny").state_dict()
    names = {f"module.encoder_q.{k}": v for k, v in weights.items()}
    safetensors.torch.save_file(names, tmp_path / "mine.safetensors")
    both = of_file(tmp_path / "mine.safetensors", None, None, tmp_path / "runs")
    loaded = both.trained.backbone.state_dict()
    assert all(torch.equal(weights[name], loaded[name]) for name in weights)
    assert both.settings == recipe_file.load_recipe("demo")  # the one of this backbone
    assert both.folder == tmp_path / "runs" / "weights-mine"
    assert (
        both.calibrated(dataset, "1").facts["batch_norm_batches"] == 50
    )  # of that data set's clips
    assert len(both.trained.facts["checkpoint_sha256"]) == 64


def test_statistics_for_a_file_of_weights_are_of_the_split_that_is_tested(shards, tmp_path):
    """Those of split 1 would be of clips that another split tests."""
    weights = make_backbone("r3d-tiny").state_dict()
    safetensors.torch.save_file(weights, tmp_path / "mine.safetensors")
    both = of_file(tmp_path / "mine.safetensors", None, None, tmp_path / "runs")
    dataset = ShardDataset(shards)
    other = both.calibrated(dataset, "1").facts["batch_norm_sha256"]
    with pytest.raises(TrainerError, match="split"):
        both.calibrated(dataset, "2")
    assert other == both.calibrated(dataset, "1").facts["batch_norm_sha256"]


def test_a_checkpoint_of_a_run_as_a_file_of_weights_keeps_its_step_and_its_run(
    finished_run, tmp_path
):
    path = finished_run / "checkpoints" / "00000004.pt"
    both = of_file(path, None, None, tmp_path / "runs")
    assert both.trained.facts["step"] == 4
    assert both.folder == tmp_path / "runs" / "weights-run-00000004"


@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_backbone_has_a_recipe(backbone):
    assert recipe_for(backbone) in recipe_file.recipes()


def test_a_run_that_began_with_weights(tiny, training_set, dataset, tmp_path):
    """Its baseline is the network with these weights, not a fresh one."""
    weights = make_backbone("r3d-tiny").state_dict()
    safetensors.torch.save_file(weights, tmp_path / "start.safetensors")
    path = tmp_path / "start.safetensors"
    settings = recipe_file.override(tiny, (f"model.init={path}", "optim.steps=2"))
    start_run(tmp_path / "run", settings, training_set)
    train(tmp_path / "run", settings, training_set, torch.device("cpu"))
    both = of_run(tmp_path / "run")
    untrained = both.untrained
    assert (untrained.name, untrained.row) == ("untrained", "initial weights")
    assert both.calibrated(dataset, "1") is None  # the weights have statistics of their own
    loaded = untrained.backbone.state_dict()
    assert all(torch.equal(weights[name], loaded[name]) for name in weights)
    assert untrained.facts["checkpoint_sha256"] == sha256(path.read_bytes()).hexdigest()
    path.write_bytes(b"other")
    again = of_run(tmp_path / "run")
    assert again.trained.facts["step"] == 2
    with pytest.raises(EvaluateError, match=r"missing or have changed since.*--no-baseline"):
        _ = again.untrained
