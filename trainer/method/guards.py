"""Guards that stop a failed run: NaN or infinite losses and weights, and collapse."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from trainer.config.settings import Config
from trainer.errors import TrainerError
from trainer.method.monitor import healthy_std


class EarlyNumber:
    """A scalar that is copied to the host asynchronously: `read` waits for the GPU work queued
    before `EarlyNumber(...)`, not for the work queued since."""

    def __init__(self, value: torch.Tensor) -> None:
        self._value, self._event = value.detach(), None
        if value.is_cuda:
            self._value = torch.empty((), dtype=value.dtype, pin_memory=True)
            self._value.copy_(value.detach(), non_blocking=True)
            self._event = torch.cuda.Event(blocking=True)  # waits without occupying a CPU core
            self._event.record()

    def read(self) -> float:
        """Wait for the value, and return it."""
        if self._event is not None:
            self._event.synchronize()
        return float(self._value)


def not_finite(module: nn.Module) -> list[str]:
    """Names of the weights and buffers that contain NaN or infinity."""
    return [
        name
        for name, values in module.state_dict().items()
        if values.is_floating_point() and not bool(values.isfinite().all())
    ]


def must_be_finite(backbone: nn.Module, path: Path) -> None:
    """Raises TrainerError if the weights that a backbone loaded from `path` contain NaN or
    infinity: training cannot start from them."""
    if wrong := not_finite(backbone):
        values = backbone.state_dict()[wrong[0]]
        count = int((~values.isfinite()).sum())
        raise TrainerError(
            f"{path} cannot be started from: NaN or infinity is in {len(wrong)} of its tensors, "
            f"such as {count} of the {values.numel()} values of {wrong[0]}. Take weights from "
            "before the training that made them failed, or begin without --init."
        )


def no_number(what: str, step: int, kept: str) -> TrainerError:
    """The error for a run whose loss or weights became NaN or infinite. `kept` says what was saved
    of it, and where."""
    return TrainerError(
        f"{what} at step {step}. {kept} Lower the learning rate (--set optim.lr=...), raise the "
        "warm-up (--set optim.warmup=0.1) or limit the gradient (--set optim.clip=1) and start a "
        "new run; a resumed one keeps its settings and would fail again."
    )


def no_number_at_first(loss: float, kept: str, init: str) -> TrainerError:
    """The error for a loss that is NaN or infinite in the first step. `init` is the file of weights
    that the run started from, or ""."""
    weights = f", at the weights that the run began with ({init})" if init else ""
    return TrainerError(
        f"The loss is {loss} at step 1, before any weight was changed, so the learning rate is not "
        f"to blame. {kept} Look at these clips{weights}, and at device.precision (fp32 has the "
        "widest range: --set device.precision=fp32), and start a new run."
    )


@dataclass
class CollapseGuard:
    """Tracks how long the embeddings of each head have been collapsed. Part of the checkpoint.

    Attributes:
        since: for each collapsed head, the step since which its std has been too small
    """

    settings: Config
    since: dict[str, int]

    def look(self, step: int, stds: dict[str, float]) -> None:
        """Check the std of each trained head after step `step`. Raises TrainerError when one has
        been below the bound for `objective.collapse_steps` steps."""
        limit = self.settings.objective.collapse_steps
        healthy = healthy_std(self.settings.model.dim)
        bound = self.settings.objective.collapse * healthy
        for head, std in stds.items():
            if std >= bound:
                self.since.pop(head, None)
                continue
            first = self.since.setdefault(head, step)
            if limit and step - first >= limit:
                raise TrainerError(
                    f"The {head} embeddings have collapsed: all clips are mapped to nearly one "
                    f"point. Their std is {std:.5f} at step {step} and has been below "
                    f"{bound:.5f} ({self.settings.objective.collapse:g} of the healthy "
                    f"{healthy:.3f}) since step {first}. Start a new run with a smaller learning "
                    "rate (--set optim.lr=...), a slower target network (--set "
                    "objective.momentum=0.99) or more videos a step (--set optim.batch=...), or "
                    "let it go on regardless: --resume --set objective.collapse_steps=0."
                )
