"""Batch-norm statistics of a network that has learnt nothing: the mean and variance of every
channel over clips as training sees them. An untrained network that has them is the fair one to
compare a trained one with, whose statistics are of such clips, too."""

from contextlib import closing
from itertools import islice

import torch
from torch import nn

from trainer.config.settings import Config
from trainer.data.augment import augment_batch
from trainer.data.batches import training_batches
from trainer.data.training_set import TrainingSet
from trainer.distributed import ALONE

BATCHES = 50  # at most


def has_batch_norm(network: nn.Module) -> bool:
    return bool(_layers(network))


def batch_norm_statistics(
    network: nn.Module, settings: Config, data: TrainingSet, device: torch.device
) -> dict[str, torch.Tensor]:
    """What the batch-norm layers of a network say of the first BATCHES batches of its training, on
    the CPU, by their names in its state dict. The network has them, too, and is in evaluation mode;
    its weights stay as they are."""
    network.to(device).eval()  # nothing random but what is drawn for the clips
    layers = _layers(network)
    momenta = {name: layer.momentum for name, layer in layers.items()}
    for layer in layers.values():
        layer.reset_running_stats()
        layer.momentum = None  # the mean over all batches
        layer.train()
    batches = training_batches(settings, data, 0, BATCHES, ALONE, device)
    with torch.no_grad(), closing(batches):
        for number, batch in enumerate(islice(batches, BATCHES)):
            network(augment_batch(batch, settings, number))
    for name, layer in layers.items():
        layer.momentum = momenta[name]
        layer.eval()
    return {
        f"{name}.{buffer}": tensor.cpu()
        for name, layer in layers.items()
        for buffer, tensor in layer.named_buffers()
    }


def _layers(network: nn.Module) -> dict[str, nn.BatchNorm3d]:
    modules = network.named_modules()
    return {name: module for name, module in modules if isinstance(module, nn.BatchNorm3d)}
