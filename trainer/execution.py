"""How the model is executed: precision, compilation, and data parallelism over the ranks."""

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
    """Wrap a model for training: compile its encoders, if set, and average gradients over the ranks
    (`over_ranks`). Call the result in place of `model`."""
    if settings.compile:
        model.encoder.compile()
        if model.target is not None:
            model.target.compile()
    return over_ranks(model, device)


def over_ranks(model: nn.Module, device: torch.device, some_unused: bool = False) -> nn.Module:
    """Wrap a model so that gradients are averaged over all ranks; a single rank gets `model`
    itself. Call the result in place of `model`, whose parameter names stay the same. `some_unused`:
    some of the weights may not contribute to the loss."""
    if world() == 1:
        return model
    # Buffers need no broadcast: all ranks put the same clips in the bank and, with synchronised
    # batch norm, have the same statistics. Without it, checkpoints hold rank 0's.
    # For 1x1x1 kernels torch warns that gradient strides differ, though both layouts are the same.
    warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # the newer name is not in every torch
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
    """Set the precision of torch's backends within the context. With "tf32", GPUs convolve in
    TensorFloat32; matrix products, and so distances, bank and decorrelation, stay float32 except
    under autocast. `benchmark`: whether cuDNN times its algorithms once for every input shape;
    None: on a GPU, as the shapes of training never change."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = device.type == "cuda" if benchmark is None else benchmark
    try:
        with float32_products(settings.precision == "tf32"):
            yield
    finally:
        torch.backends.cudnn.benchmark = before


def precision(settings: Device, device: torch.device) -> AbstractContextManager[None]:
    """The autocast context of the forward pass; none for fp32 and tf32."""
    kind = AUTOCAST.get(settings.precision)
    return torch.autocast(device.type, kind) if kind else nullcontext()


def last_or_alone(network: nn.Module, is_last: bool) -> AbstractContextManager[None]:
    """A context that sums gradients over the ranks for the last part of a step's batch only (with
    `optim.accumulate`)."""
    if isinstance(network, DistributedDataParallel) and not is_last:
        return network.no_sync()
    return nullcontext()
