"""3D-CNNs by name. Each maps float32 N x 3 x T x H x W to a feature map N x C x T' x H' x W'."""

from collections.abc import Callable

from trainer.backbones.r3d import R3D, r3d18, r3d_tiny
from trainer.errors import TrainerError

BACKBONES: dict[str, Callable[[], R3D]] = {"r3d18": r3d18, "r3d-tiny": r3d_tiny}


def make_backbone(name: str) -> R3D:
    """A backbone with fresh weights from torch's global generator.

    Raises TrainerError for a name that is not there.
    """
    check_backbone(name)
    return BACKBONES[name]()


def check_backbone(name: str) -> None:
    """Raises TrainerError for a name that is not there."""
    if name not in BACKBONES:
        raise TrainerError(
            f"model.backbone is {name!r}, which this version does not have; it has "
            f"{', '.join(BACKBONES)}. Choose one with --set model.backbone=NAME."
        )
