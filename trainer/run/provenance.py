"""Which code, which data and which machine a number comes from."""

import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch


def code() -> str:
    """Version of ascnet, with the git commit where the source is a checkout: "0.1.0+1a2b3c4"."""
    try:
        number = version("ascnet")
    except PackageNotFoundError:
        number = "unknown"
    here = Path(__file__)
    if _git(here.parent, "ls-files", "--error-unmatch", here.name) is None:
        return number  # installed, perhaps inside a checkout of something else
    return f"{number}+{_git(here.parent, 'describe', '--always', '--dirty')}"


def _git(folder: Path, *words: str) -> str | None:
    """What git says in a folder; None if it refuses or is not there."""
    try:
        answer = subprocess.run(
            ["git", "-C", str(folder), *words], capture_output=True, text=True, check=False
        )
    except OSError:
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None


def computed_on(device: torch.device) -> dict[str, str]:
    """The kind of device, and the version of torch."""
    return {"device": device.type, "torch": str(torch.__version__)}
