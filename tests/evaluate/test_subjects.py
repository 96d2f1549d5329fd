import safetensors.torch
import torch

from evaluate.subjects import of_file, of_run
from trainer.backbones import make_backbone
from trainer.checkpoint import load_backbone
from trainer.pretrain import make_model


def test_the_untrained_one_is_what_training_began_with(finished_run, tiny):
    both = of_run(finished_run)
    start = make_model(tiny).encoder.backbone.state_dict()
    assert all(torch.equal(v, start[k]) for k, v in both.untrained.backbone.state_dict().items())
    first = both.trained.backbone.stem[0].weight
    assert not torch.equal(first, both.untrained.backbone.stem[0].weight)
    assert both.untrained.facts["checkpoint_sha256"] == "none"
    assert both.trained.facts["checkpoint_sha256"] == load_backbone(finished_run).sha256
    assert both.folder == finished_run and both.record["shards"]


def test_a_file_of_weights(tmp_path):
    weights = make_backbone("r3d-tiny").state_dict()
    names = {f"module.encoder_q.{k}": v for k, v in weights.items()}
    safetensors.torch.save_file(names, tmp_path / "mine.safetensors")
    both = of_file(tmp_path / "mine.safetensors", "r3d-tiny", "demo", tmp_path / "runs")
    loaded = both.trained.backbone.state_dict()
    assert all(torch.equal(weights[name], loaded[name]) for name in weights)
    assert both.settings.model.backbone == "r3d-tiny" and both.settings.data.size == 32
    assert both.folder == tmp_path / "runs" / "weights-mine"
    assert len(both.trained.facts["checkpoint_sha256"]) == 64
