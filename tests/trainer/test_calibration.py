import torch
from torch import nn

from trainer import calibration
from trainer.calibration import batch_norm_statistics, has_batch_norm
from trainer.data.augment import augment_batch
from trainer.data.batches import training_batches
from trainer.distributed import ALONE
from trainer.pretrain import make_model

CPU = torch.device("cpu")


def test_the_statistics_are_those_of_the_clips_and_the_weights_stay(
    tiny, training_set, monkeypatch
):
    monkeypatch.setattr(calibration, "BATCHES", 3)
    untrained = make_model(tiny).encoder.backbone.state_dict()
    network = make_model(tiny).encoder.backbone
    statistics = batch_norm_statistics(network, tiny, training_set, CPU)
    ours = network.state_dict()
    differ = {name for name in ours if not torch.equal(ours[name], untrained[name])}
    assert differ == statistics.keys()
    assert differ == {name for name in ours if "running" in name or "num_batches" in name}
    assert all(torch.equal(ours[name], value) for name, value in statistics.items())
    assert {int(ours[name]) for name in ours if "num_batches" in name} == {3}
    assert not network.training and network.stem[1].momentum is not None
    batches = training_batches(tiny, training_set, 0, 3, ALONE, CPU)
    with torch.no_grad():
        first = [network.stem[0](augment_batch(b, tiny, i)) for i, b in enumerate(batches)]
    means = torch.stack([maps.mean(dim=(0, 2, 3, 4)) for maps in first]).mean(dim=0)
    torch.testing.assert_close(ours["stem.1.running_mean"], means)
    again = batch_norm_statistics(network, tiny, training_set, CPU)
    assert all(torch.equal(again[name], value) for name, value in statistics.items())


def test_a_network_may_have_none():
    assert not has_batch_norm(nn.Linear(2, 2))
