"""The backbones by name. Each maps clips (float32, N x 3 x T x H x W) to a feature map
(N x C x T' x H' x W')."""

from collections.abc import Callable

import torch

from trainer.backbones.base import Backbone
from trainer.backbones.c3d import c3d
from trainer.backbones.r2plus1d import r2plus1d18
from trainer.backbones.r2plus1d_vcop import r2plus1d_vcop
from trainer.backbones.r3d import r3d18, r3d_tiny
from trainer.backbones.r3d18_tclr import r3d18_tclr
from trainer.backbones.resnet18_hara import resnet18_hara
from trainer.backbones.s3d import s3d, s3dg
from trainer.backbones.s3d_coclr import s3d_coclr
from trainer.backbones.s3dg_rspnet import s3dg_rspnet
from trainer.errors import TrainerUsageError

BACKBONES: dict[str, Callable[[], Backbone]] = {
    "r3d18": r3d18,
    "r3d-tiny": r3d_tiny,
    "r2plus1d18": r2plus1d18,
    "c3d": c3d,
    "s3d": s3d,
    "s3dg": s3dg,
    # For other projects' checkpoints. Where two backbones have weights of the same shapes but
    # compute different functions, the names of weights differ, so no file loads into the wrong one.
    "resnet18-hara": resnet18_hara,
    "r2plus1d-vcop": r2plus1d_vcop,
    "r3d18-tclr": r3d18_tclr,
    "s3d-coclr": s3d_coclr,
    "s3dg-rspnet": s3dg_rspnet,
}


def make_backbone(name: str) -> Backbone:
    """Make a backbone with random weights from torch's global generator. Raises TrainerError for an
    unknown name."""
    check_backbone(name)
    return BACKBONES[name]()


def empty_backbone(name: str) -> Backbone:
    """Make a backbone to load weights into, without drawing random ones (half a second for R3D-18).
    Its parameters and statistics are NaN, its counters 0. Raises TrainerError for an unknown
    name."""
    with torch.device("meta"):
        backbone = make_backbone(name)
    # Its `to_empty` imports sympy, which takes a second.
    backbone._apply(_without_numbers)
    return backbone


def _without_numbers(tensor: torch.Tensor) -> torch.Tensor:
    """Of the shape and dtype of a tensor on the meta device."""
    nothing = torch.nan if tensor.is_floating_point() else 0
    return torch.full(tensor.shape, nothing, dtype=tensor.dtype)


def check_backbone(name: str) -> None:
    """Raises TrainerError for an unknown name."""
    if name not in BACKBONES:
        raise TrainerUsageError(
            f"model.backbone is {name!r}, which this version does not have; it has "
            f"{', '.join(BACKBONES)}. Choose one with --set model.backbone=NAME."
        )
