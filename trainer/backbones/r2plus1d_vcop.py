"""R(2+1)D of VCOP (Xu et al., CVPR 2019), as trained by RSPNet: one block per stage.

Besides the number of blocks, it differs from torchvision's R(2+1)D-18 in the channels between the
two parts of a convolution, which are computed for each convolution by itself (83 in the stem, for
example), and in its shortcuts, which are split in two, too.
"""

from torch import nn

from trainer.backbones.base import Backbone
from trainer.backbones.residual import residual_net

Sides = tuple[int, int, int]


def _convolutions(inside: int, outside: int, stride: int) -> tuple[nn.Module, nn.Module]:
    first = _pair(inside, outside, (3, 3, 3), (stride, stride, stride))
    return first, _pair(outside, outside, (3, 3, 3), (1, 1, 1))


def _shortcut(inside: int, outside: int, stride: int) -> nn.Module:
    return _pair(inside, outside, (1, 1, 1), (stride, stride, stride))


def _pair(inside: int, outside: int, sides: Sides, strides: Sides) -> nn.Sequential:
    """A convolution split in two, space then time, with about as many weights as the full one."""
    frames, height, width = sides
    middle = (frames * height * width * inside * outside) // (
        height * width * inside + frames * outside
    )
    space, time = (1, height, width), (frames, 1, 1)
    return nn.Sequential(
        nn.Conv3d(
            inside, middle, space, (1, *strides[1:]), (0, height // 2, width // 2), bias=False
        ),
        nn.BatchNorm3d(middle),
        nn.ReLU(inplace=True),
        nn.Conv3d(middle, outside, time, (strides[0], 1, 1), (frames // 2, 0, 0), bias=False),
    )


def r2plus1d_vcop() -> Backbone:
    """R(2+1)D of VCOP: 14 365 303 weights."""
    stem = nn.Sequential(
        *_pair(3, 64, (3, 7, 7), (1, 2, 2)), nn.BatchNorm3d(64), nn.ReLU(inplace=True)
    )
    return residual_net(stem, 64, (1, 1, 1, 1), _convolutions, _shortcut)
