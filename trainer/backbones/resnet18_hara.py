"""The 3-D ResNet-18 of Hara et al. (CVPR 2018), as RSPNet trains it (AAAI 2021).

From R3D-18 it differs in its stem: 7x7x7, and a max pooling over time, too. So it gives half as
many places along each side. The state-dict keys are R3D's; the stem has another shape.
"""

from torch import nn

from trainer.backbones.base import Backbone
from trainer.backbones.r3d import convolutions
from trainer.backbones.residual import residual_net


def resnet18_hara() -> Backbone:
    """3-D ResNet-18, to N x 512 x T/16 x H/32 x W/32 (each rounded up): 33 203 904 weights."""
    stem = nn.Sequential(
        nn.Conv3d(3, 64, 7, (1, 2, 2), 3, bias=False),
        nn.BatchNorm3d(64),
        nn.ReLU(inplace=True),
        nn.MaxPool3d(3, 2, 1),
    )
    return residual_net(stem, 64, (2, 2, 2, 2), convolutions)
