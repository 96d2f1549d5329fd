"""R3D: a ResNet of 3x3x3 convolutions (Tran et al., CVPR 2018, section 3).

The architecture and the state-dict keys are those of torchvision's `r3d_18`, without `fc`.
"""

from torch import nn

from trainer.backbones.residual import ResidualNet


class R3D(ResidualNet):
    """float32 N x 3 x T x H x W to N x channels x T/8 x H/16 x W/16 (each rounded up)."""

    def __init__(self, width: int, blocks: tuple[int, int, int, int]) -> None:
        """`width`: channels of the stem; every stage doubles it. `blocks` of each stage."""
        stem = nn.Sequential(
            nn.Conv3d(3, width, (3, 7, 7), (1, 2, 2), (1, 3, 3), bias=False),
            nn.BatchNorm3d(width),
            nn.ReLU(inplace=True),
        )
        super().__init__(stem, width, blocks, convolutions)


def convolutions(inside: int, outside: int, stride: int) -> tuple[nn.Module, nn.Module]:
    """The two 3x3x3 convolutions of a block."""
    return (
        nn.Conv3d(inside, outside, 3, stride, 1, bias=False),
        nn.Conv3d(outside, outside, 3, 1, 1, bias=False),
    )


def r3d18() -> R3D:
    """R3D-18: 33 166 272 weights."""
    return R3D(64, (2, 2, 2, 2))


def r3d_tiny() -> R3D:
    """One block a stage and 16 channels, for CPUs: 903 984 weights."""
    return R3D(16, (1, 1, 1, 1))
