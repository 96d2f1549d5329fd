"""The 3-D ResNet-18 of Hara et al. (CVPR 2018), as RSPNet trains it (AAAI 2021).

From R3D-18 it differs in its stem: 7x7x7, and a max pooling over time, too. So it gives half as
many places along each side. The state-dict keys are R3D's; the stem has another shape.
"""

from torch import nn

from trainer.backbones.r3d import convolutions
from trainer.backbones.residual import ResidualNet


class ResNetHara(ResidualNet):
    """float32 N x 3 x T x H x W to N x 512 x T/16 x H/32 x W/32 (each rounded up)."""

    def __init__(self) -> None:
        stem = nn.Sequential(
            nn.Conv3d(3, 64, 7, (1, 2, 2), 3, bias=False),
            nn.BatchNorm3d(64),
            nn.ReLU(inplace=True),
            nn.MaxPool3d(3, 2, 1),
        )
        super().__init__(stem, 64, (2, 2, 2, 2), convolutions)


def resnet18_hara() -> ResNetHara:
    """3-D ResNet-18: 33 203 904 weights."""
    return ResNetHara()
