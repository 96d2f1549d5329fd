"""What a checkpoint holds: everything that decides the steps to come, but for the settings.

There is no state of random generators in it: all that is random in a step comes from
(seed, step, rank), and so does the place in the data.
"""

from pathlib import Path
from typing import Any

import torch

from trainer.config.recipe_file import dump, fixed
from trainer.config.settings import Config
from trainer.distributed import sum_over_ranks, world
from trainer.method.ascnet import ASCNet
from trainer.method.guards import CollapseGuard, must_be_finite, no_number, not_finite
from trainer.optimiser import make_optimiser
from trainer.run import checkpoint
from trainer.sync_batch_norm import synchronise
from trainer.weights.load import load_weights


class TrainingState:
    """Model (with target, heads and bank), optimiser, gradient scaler, and the collapse guard."""

    def __init__(self, model: ASCNet, settings: Config, device: torch.device) -> None:
        how = settings.device
        model = model.to(device)
        if world() > 1 and how.sync_bn:
            synchronise(model, device)
        if how.channels_last:
            model = model.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self.settings, self._device = settings, device
        self.model: ASCNet = model.train()
        self.optimiser = make_optimiser(model, settings.optim)
        self.scaler = torch.amp.GradScaler(device.type, enabled=how.precision == "fp16")
        self.collapse = CollapseGuard(settings, {})

    def state_dict(self) -> dict[str, Any]:
        return {
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
            "collapse": dict(self.collapse.since),
            "settings": dump(fixed(self.settings)),
        }

    def must_be_finite(self, step: int) -> None:
        """Raises TrainerError, on all ranks, for weights that are no numbers on one of them: the
        gradients of a step overflowed though its loss did not. A checkpoint of them would be of no
        use."""
        wrong = torch.tensor(float(bool(not_finite(self.model))), device=self._device)
        if sum_over_ranks(wrong) > 0:
            raise no_number("Weights are no numbers", step, "The checkpoints before it are whole.")

    def restore(self, run: Path) -> int:
        """Load the newest whole checkpoint of a run; without any, start from `model.init` if that
        is set. The step to go on with comes back."""
        if not checkpoint.list_checkpoints(run):
            self._start()
            return 0
        path, state = checkpoint.load_last(run)
        checkpoint.must_be_of(state.get("settings"), self.settings, run)
        with checkpoint.must_fit(path, run):
            self.model.load_state_dict(state["model"])
            self.optimiser.load_state_dict(state["optimiser"])
            _must_be_shaped(self.optimiser)
            self.scaler.load_state_dict(state["scaler"])
            self.collapse.since.update({str(k): int(v) for k, v in state["collapse"].items()})
            return checkpoint.step_of(state)

    def _start(self) -> None:
        if self.settings.model.init:
            path = Path(self.settings.model.init)
            load_weights(self.model.encoder.backbone, path)
            must_be_finite(self.model.encoder.backbone, path)
            if self.model.target is not None:
                load_weights(self.model.target.backbone, path)


def _must_be_shaped(optimiser: torch.optim.Optimizer) -> None:
    """Raises ValueError where what it keeps of a weight has another shape: torch does not look."""
    for weight, kept in optimiser.state.items():
        for name, value in kept.items():
            if isinstance(value, torch.Tensor) and value.dim() and value.shape != weight.shape:
                raise ValueError(f"{name} of another shape")
