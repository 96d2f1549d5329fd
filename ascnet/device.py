"""Choose the device for networks."""

import re

import torch

from builder.printable import printable
from trainer.errors import TrainerError, TrainerUsageError


def pick_device(name: str | None = None) -> torch.device:
    """The device with this name: "cpu", "cuda" or "cuda:N"; by default a GPU if there is one.
    Raises TrainerError for any other name, or if this machine has no such GPU."""
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not re.fullmatch("cpu|cuda(:[0-9]{1,3})?", name):
        raise TrainerUsageError(
            f"--device is {printable(name)!r}; it takes cpu, cuda or cuda:N, where N is the number "
            "of a GPU."
        )
    device = torch.device(name)
    if device.type == "cpu":
        return device
    if not torch.cuda.is_available():
        raise TrainerError(
            f"--device is {name}, and torch {torch.__version__} finds no GPU: `ascnet doctor` says "
            "why. Pass --device cpu, or omit it."
        )
    if device.index is not None:
        if device.index >= (count := torch.cuda.device_count()):
            raise TrainerUsageError(
                f"--device is {name}, and the GPUs here are cuda:0 to cuda:{count - 1} ({count} in "
                "all). Name one of them, or omit --device."
            )
        torch.cuda.set_device(device)  # the default for tensors that torch creates
    return device
