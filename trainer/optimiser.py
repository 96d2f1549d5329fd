"""Optimisers: SGD, LARS, AdamW."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from trainer.config.settings import Optim


class Lars(torch.optim.Optimizer):
    """LARS: SGD whose step is scaled for each weight tensor by trust |weight| / |gradient| (You,
    Gitman & Ginsburg 2017, section 4; BYOL for video uses it with trust 0.001). Parameter groups
    with `scaled` False (norms and biases) take plain SGD steps."""

    def __init__(
        self, params: Iterable[Any], lr: float, momentum: float, weight_decay: float, trust: float
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "weight_decay": weight_decay,
                "trust": trust,
                "scaled": True,
            },
        )

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """v = momentum v + s (g + decay w), w = w - lr v, with s = trust |w| / |g + decay w|."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                change = weight.grad.add(weight, alpha=group["weight_decay"])
                if group["scaled"]:
                    change.mul_(_share(weight, change, group["trust"]))
                state = self.state[weight]
                if "momentum_buffer" not in state:
                    state["momentum_buffer"] = torch.zeros_like(weight)
                state["momentum_buffer"].mul_(group["momentum"]).add_(change)
                weight.add_(state["momentum_buffer"], alpha=-group["lr"])


def _share(weight: torch.Tensor, change: torch.Tensor, trust: float) -> torch.Tensor:
    """trust |w| / |change|; 1 if either norm is 0."""
    norms = weight.norm(), change.norm()
    usable = (norms[0] > 0) & (norms[1] > 0)
    return torch.where(usable, trust * norms[0] / norms[1].clamp(min=1e-30), 1.0)


def make_optimiser(model: nn.Module, settings: Optim) -> torch.optim.Optimizer:
    """Make the optimiser of the model's trainable weights. Biases and norms get no weight decay and
    no LARS scaling. The learning rate is 0 until it is set, before every step."""
    trained = [p for p in model.parameters() if p.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in trained if p.ndim > 1]},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    decay, momentum = settings.weight_decay, settings.momentum
    if settings.optimiser == "adamw":
        return torch.optim.AdamW(groups, lr=0.0, weight_decay=decay)
    if settings.optimiser == "lars":
        groups[1]["scaled"] = False
        return Lars(groups, 0.0, momentum, decay, settings.trust)
    if settings.optimiser == "sgd":
        return torch.optim.SGD(groups, lr=0.0, momentum=momentum, weight_decay=decay)
    raise ValueError(f"there is no optimiser {settings.optimiser!r}")
