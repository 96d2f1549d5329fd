"""Batch-norm statistics of an untrained network: the mean and variance of every channel over clips
augmented as in training. With them it is a fair baseline for a trained network, whose statistics
are over such clips, too."""

from contextlib import closing
from itertools import islice

import torch
from torch import nn

from trainer.config.settings import Config
from trainer.data.augment import augment_batch
from trainer.data.batches import training_batches
from trainer.data.training_set import TrainingSet
from trainer.distributed import ALONE

BATCHES = 50  # batches that the statistics are over, at most


def has_batch_norm(network: nn.Module) -> bool:
    """Whether a network has 3-D batch-norm layers."""
    return bool(_layers(network))


def batch_norm_statistics(
    network: nn.Module, settings: Config, data: TrainingSet, device: torch.device
) -> dict[str, torch.Tensor]:
    """Compute the batch-norm statistics of a network over the first BATCHES batches that training
    with `settings` would take. Returns the buffers on the CPU, by their names in the state dict.
    They are also set in the network, which is left in evaluation mode, its weights unchanged."""
    network.to(device).eval()  # no dropout: only the clips are random
    layers = _layers(network)
    momenta = {name: layer.momentum for name, layer in layers.items()}
    for layer in layers.values():
        layer.reset_running_stats()
        layer.momentum = None  # torch then averages over all batches
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
