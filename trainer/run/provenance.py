"""Provenance of results: the version of the code, the device, the version of torch."""

import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch


def code() -> str:
    """The version of ascnet, with the git commit if it runs from a checkout: "0.1.0+1a2b3c4"."""
    try:
        number = version("ascnet")
    except PackageNotFoundError:
        number = "unknown"
    this_file = Path(__file__)
    if _git(this_file.parent, "ls-files", "--error-unmatch", this_file.name) is None:
        return number  # installed, perhaps inside a checkout of something else
    return f"{number}+{_git(this_file.parent, 'describe', '--always', '--dirty')}"


def _git(folder: Path, *words: str) -> str | None:
    """The output of git in a folder; None if git fails or is not installed."""
    try:
        answer = subprocess.run(
            ["git", "-C", str(folder), *words], capture_output=True, text=True, check=False
        )
    except OSError:
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None


def computed_on(device: torch.device) -> dict[str, str]:
    """The type of device and the version of torch, for a result file."""
    return {"device": device.type, "torch": str(torch.__version__)}
