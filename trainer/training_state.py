"""The training state: what a checkpoint holds, everything that later steps depend on but settings.

It has no state of random generators and no position in the data: both derive from
(seed, step, rank).
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
    """Model (with target network, heads and bank), optimiser, gradient scaler, collapse guard."""

    def __init__(self, model: ASCNet, settings: Config, device: torch.device) -> None:
        execution = settings.device
        model = model.to(device)
        if world() > 1 and execution.sync_bn:
            synchronise(model, device)
        if execution.channels_last:
            model = model.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self.settings, self._device = settings, device
        self.model: ASCNet = model.train()
        self.optimiser = make_optimiser(model, settings.optim)
        self.scaler = torch.amp.GradScaler(device.type, enabled=execution.precision == "fp16")
        self.collapse = CollapseGuard(settings, {})

    def state_dict(self) -> dict[str, Any]:
        """The state for a checkpoint: tensors, numbers and strings only."""
        return {
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
            "collapse": dict(self.collapse.since),
            "settings": dump(fixed(self.settings)),
        }

    def must_be_finite(self, step: int) -> None:
        """Raises TrainerError on all ranks if weights of any of them are NaN or infinite. That
        happens when gradients overflow and the loss does not; the checkpoint would be useless."""
        wrong = torch.tensor(float(bool(not_finite(self.model))), device=self._device)
        if sum_over_ranks(wrong) > 0:
            raise no_number(
                "Weights are NaN or infinite", step, "The checkpoints before it are whole."
            )

    def restore(self, run: Path) -> int:
        """Load the newest intact checkpoint of a run, or `model.init`, if set, in a run that has
        none. Returns the step to continue with. Raises TrainerError for a checkpoint that does not
        fit the settings."""
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
    """Raises ValueError if a state tensor has another shape than its weight; torch does not check
    that."""
    for weight, weight_state in optimiser.state.items():
        for name, value in weight_state.items():
            if isinstance(value, torch.Tensor) and value.dim() and value.shape != weight.shape:
                raise ValueError(f"{name} of another shape")
