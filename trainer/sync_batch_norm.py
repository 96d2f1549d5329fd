"""Batch norm over all ranks, also on the CPU (torch's SyncBatchNorm supports GPUs only)."""

import torch
import torch.distributed as dist
from torch import nn
from torch.autograd.function import FunctionCtx
from torch.nn.modules.batchnorm import _BatchNorm

from trainer.distributed import world


class _SumOverRanks(torch.autograd.Function):
    """The sum of a tensor over all ranks. The losses of all ranks depend on it, so gradients are
    summed over the ranks, too."""

    @staticmethod
    def forward(ctx: FunctionCtx, values: torch.Tensor) -> torch.Tensor:
        total = values.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: FunctionCtx, *gradients: torch.Tensor) -> torch.Tensor:
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total


class CpuSyncBatchNorm(_BatchNorm):
    """Normalises N x C x ... with the mean and variance over N and all positions of all ranks,
    which must have equal shares of the batch. Weights and buffers are those of `nn.BatchNorm*d`."""

    def _check_input_dim(self, input: torch.Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"expected N x C x ..., got {tuple(input.shape)}")

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if not self.training or world() == 1:
            return super().forward(input)
        kind = input.dtype
        if kind in (torch.bfloat16, torch.float16):
            input = input.float()  # sums over a batch need more precision
        dims = [0, *range(2, input.dim())]
        shape = [1, -1] + [1] * (input.dim() - 2)
        count = input.numel() // input.shape[1] * world()
        mean = _SumOverRanks.apply(input.sum(dims)) / count
        centred = input - mean.view(shape)
        variance = _SumOverRanks.apply(centred.square().sum(dims)) / count
        if self.track_running_stats:
            self._remember(mean.detach(), variance.detach() * count / (count - 1))
        scale = torch.rsqrt(variance + self.eps)
        result: torch.Tensor = centred * (self.weight * scale if self.affine else scale).view(shape)
        if self.affine:
            result = result + self.bias.view(shape)
        return result.to(kind)

    @torch.no_grad()
    def _remember(self, mean: torch.Tensor, variance: torch.Tensor) -> None:
        assert self.running_mean is not None and self.running_var is not None
        assert self.num_batches_tracked is not None and self.momentum is not None
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)


def synchronise(model: nn.Module, device: torch.device) -> nn.Module:
    """Replace every batch norm of `model` by one over all ranks, in place. Returns the model; the
    names and values of its state dict stay."""
    if device.type == "cuda":
        converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        return converted
    for name, child in model.named_children():
        if isinstance(child, _BatchNorm):
            how = child.momentum, child.affine, child.track_running_stats
            synced = CpuSyncBatchNorm(child.num_features, child.eps, *how)
            synced.load_state_dict(child.state_dict())
            synced.requires_grad_(any(p.requires_grad for p in child.parameters()))
            setattr(model, name, synced)
        else:
            synchronise(child, device)
    return model
