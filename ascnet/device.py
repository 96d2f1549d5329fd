"""Where networks are computed, and the option that says so."""

import re

import torch

from builder.printable import printable
from trainer.errors import TrainerError, TrainerUsageError


def pick_device(name: str | None = None) -> torch.device:
    """The device that is named: "cpu", "cuda" or "cuda:N"; by default a GPU if there is one. Raises
    TrainerError if it is none of these, or if this machine has no such GPU."""
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not re.fullmatch("cpu|cuda(:[0-9]{1,3})?", name):
        raise TrainerUsageError(
            f"--device is {printable(name)!r}; it takes cpu, cuda or cuda:N, N being the number of "
            "a GPU."
        )
    device = torch.device(name)
    if device.type == "cpu":
        return device
    if not torch.cuda.is_available():
        raise TrainerError(
            f"--device is {name}, and torch {torch.__version__} finds no GPU here: `ascnet doctor` "
            "says why. Say --device cpu, or leave it out."
        )
    if device.index is not None:
        if device.index >= (count := torch.cuda.device_count()):
            raise TrainerUsageError(
                f"--device is {name}, and the GPUs here are cuda:0 to cuda:{count - 1} ({count} in "
                "all). Name one of them, or leave --device out."
            )
        torch.cuda.set_device(device)  # what torch makes without being told where lies there, too
    return device
