"""An untrained network whose batch norm knows the data: random weights, and the mean and variance
of every channel over clips as training sees them. What is above it was learnt by the weights."""

import torch
from torch import nn

from experiments.peer_training import augmented, batches_of
from trainer.backbones.base import Backbone
from trainer.config.settings import Config
from trainer.data.training_set import TrainingSet
from trainer.pretrain import make_model

BATCHES = 50


def calibrated(settings: Config, data: TrainingSet) -> Backbone:
    """The network that training would begin with, after BATCHES batches of clips without a step."""
    backbone = make_model(settings).encoder.backbone.train()
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.momentum = None  # the mean over all batches
    device = torch.device("cpu")
    with torch.no_grad():
        for step, batch in enumerate(batches_of(settings, data, BATCHES, device)):
            backbone(augmented(settings, batch, step, device))
    return backbone
