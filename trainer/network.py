"""How the model is computed: precision, compiled or not, on one device or many."""

import warnings
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from trainer.ascnet import ASCNet
from trainer.config import Device
from trainer.ranks import world

_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


def prepare(model: ASCNet, settings: Device, device: torch.device) -> nn.Module:
    """What is called in place of `model`: itself, or with the gradients averaged over all ranks.
    Names of weights in `model` stay what they are."""
    set_backends(settings, device)
    if settings.compile:
        model.encoder.compile()
        if model.target is not None:
            model.target.compile()
    if world() == 1:
        return model
    # Buffers need no broadcast: all ranks put the same clips in the bank and, with batch norm over
    # all of them, see the same statistics. Without, rank 0's are those that are kept.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # its other name is not in every torch
        return DistributedDataParallel(
            model, device_ids=[device] if device.type == "cuda" else None, broadcast_buffers=False
        )


def set_backends(settings: Device, device: torch.device) -> None:
    """How GPUs multiply, for the whole process."""
    tf32 = settings.precision == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = tf32
    torch.backends.cudnn.allow_tf32 = tf32
    torch.backends.cudnn.benchmark = device.type == "cuda"  # shapes are always the same


def precision(settings: Device, device: torch.device) -> AbstractContextManager[None]:
    """The context of the forward pass."""
    kind = _AUTOCAST.get(settings.precision)
    return torch.autocast(device.type, kind) if kind else nullcontext()


def last_or_alone(network: nn.Module, is_last: bool) -> AbstractContextManager[None]:
    """Leaves the sum over ranks out for all but the last part of a step's batch."""
    if isinstance(network, DistributedDataParallel) and not is_last:
        return network.no_sync()
    return nullcontext()
