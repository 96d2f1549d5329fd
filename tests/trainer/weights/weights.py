"""Make files of weights, and check what was loaded from them."""

from pathlib import Path

import torch

Tensors = dict[str, torch.Tensor]


def named(tensors: Tensors, prefix: str) -> Tensors:
    return {prefix + name: tensor for name, tensor in tensors.items()}


def saved(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


def is_loaded(backbone: torch.nn.Module, source: Tensors) -> bool:
    state = backbone.state_dict()
    return all(torch.equal(state[name], tensor) for name, tensor in source.items())
