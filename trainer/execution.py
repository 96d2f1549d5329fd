"""How the model is computed: precision, compiled or not, on one device or many."""

import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from trainer.config.settings import Device
from trainer.distributed import world
from trainer.float32 import float32_products
from trainer.method.ascnet import ASCNet

AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


def prepare(model: ASCNet, settings: Device, device: torch.device) -> nn.Module:
    """What is called in place of `model`: as `over_ranks` says, and compiled if that is asked
    for."""
    if settings.compile:
        model.encoder.compile()
        if model.target is not None:
            model.target.compile()
    return over_ranks(model, device)


def over_ranks(model: nn.Module, device: torch.device, some_unused: bool = False) -> nn.Module:
    """What is called in place of `model`: itself, or with the gradients averaged over all ranks.
    Names of weights in `model` stay what they are. `some_unused`: the loss may not depend on some
    of the weights."""
    if world() == 1:
        return model
    # Buffers need no broadcast: all ranks put the same clips in the bank and, with batch norm over
    # all of them, see the same statistics. Without, rank 0's are those that are kept.
    # Of a kernel of one place, torch warns that its gradient has other strides. They mean the same.
    warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # its other name is not in every torch
        return DistributedDataParallel(
            model,
            device_ids=[device] if device.type == "cuda" else None,
            broadcast_buffers=False,
            find_unused_parameters=some_unused,
        )


@contextmanager
def backends(
    settings: Device, device: torch.device, benchmark: bool | None = None
) -> Iterator[None]:
    """How the process multiplies in the meantime: with "tf32", GPUs convolve in TensorFloat32;
    matrix products, and so distances, bank and decorrelation, are float32 unless autocast says
    otherwise. `benchmark`: whether cuDNN tries its algorithms out, once for every shape of its
    inputs; None: on a GPU, for the shapes of training are always the same."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = device.type == "cuda" if benchmark is None else benchmark
    try:
        with float32_products(settings.precision == "tf32"):
            yield
    finally:
        torch.backends.cudnn.benchmark = before


def precision(settings: Device, device: torch.device) -> AbstractContextManager[None]:
    """The context of the forward pass."""
    kind = AUTOCAST.get(settings.precision)
    return torch.autocast(device.type, kind) if kind else nullcontext()


def last_or_alone(network: nn.Module, is_last: bool) -> AbstractContextManager[None]:
    """Leaves the sum over ranks out for all but the last part of a step's batch."""
    if isinstance(network, DistributedDataParallel) and not is_last:
        return network.no_sync()
    return nullcontext()
