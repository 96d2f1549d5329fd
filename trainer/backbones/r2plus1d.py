"""R(2+1)D: R3D with every 3x3x3 convolution split into 1x3x3 and 3x1x1 (Tran et al., CVPR 2018,
section 3).

The architecture and the state-dict keys are those of torchvision's `r2plus1d_18`, without `fc`.
"""

from torch import nn

from trainer.backbones.base import Backbone
from trainer.backbones.residual import residual_net


def _convolutions(inside: int, outside: int, stride: int) -> tuple[nn.Module, nn.Module]:
    # The number of channels for which the first pair has as many weights as a 3x3x3 convolution.
    # Both pairs of a block use it, as in the authors' own network and in torchvision.
    middle = 27 * inside * outside // (9 * inside + 3 * outside)
    return _pair(inside, middle, outside, stride), _pair(outside, middle, outside, 1)


def _pair(inside: int, middle: int, outside: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv3d(inside, middle, (1, 3, 3), (1, stride, stride), (0, 1, 1), bias=False),
        nn.BatchNorm3d(middle),
        nn.ReLU(inplace=True),
        nn.Conv3d(middle, outside, (3, 1, 1), (stride, 1, 1), (1, 0, 0), bias=False),
    )


def r2plus1d18() -> Backbone:
    """R(2+1)D-18: 31 300 125 weights."""
    stem = nn.Sequential(
        nn.Conv3d(3, 45, (1, 7, 7), (1, 2, 2), (0, 3, 3), bias=False),
        nn.BatchNorm3d(45),
        nn.ReLU(inplace=True),
        nn.Conv3d(45, 64, (3, 1, 1), 1, (1, 0, 0), bias=False),
        nn.BatchNorm3d(64),
        nn.ReLU(inplace=True),
    )
    return residual_net(stem, 64, (2, 2, 2, 2), _convolutions)
