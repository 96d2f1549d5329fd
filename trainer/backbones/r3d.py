"""R3D: a ResNet of 3x3x3 convolutions (Tran et al., CVPR 2018, section 3).

The architecture and the state-dict keys are those of torchvision's `r3d_18`, without `fc`.
"""

from torch import nn

from trainer.backbones.base import Backbone
from trainer.backbones.residual import residual_net


def convolutions(inside: int, outside: int, stride: int) -> tuple[nn.Module, nn.Module]:
    """The two 3x3x3 convolutions of a block with `inside` and `outside` channels."""
    return (
        nn.Conv3d(inside, outside, 3, stride, 1, bias=False),
        nn.Conv3d(outside, outside, 3, 1, 1, bias=False),
    )


def _r3d(width: int, blocks: tuple[int, int, int, int]) -> Backbone:
    """`width`: channels of the stem and first stage, doubled by each further stage. `blocks`:
    number of blocks in each stage."""
    stem = nn.Sequential(
        nn.Conv3d(3, width, (3, 7, 7), (1, 2, 2), (1, 3, 3), bias=False),
        nn.BatchNorm3d(width),
        nn.ReLU(inplace=True),
    )
    return residual_net(stem, width, blocks, convolutions)


def r3d18() -> Backbone:
    """R3D-18: 33 166 272 weights."""
    return _r3d(64, (2, 2, 2, 2))


def r3d_tiny() -> Backbone:
    """R3D with one block per stage and 16 channels, for CPUs: 903 984 weights."""
    return _r3d(16, (1, 1, 1, 1))
