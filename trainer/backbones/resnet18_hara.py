"""The 3-D ResNet-18 of Hara et al. (CVPR 2018), as trained by RSPNet (AAAI 2021).

It differs from R3D-18 in its stem, which is 7x7x7 and followed by a max pooling over space and
time, so its feature map is half as large along each axis. The state-dict keys are R3D's; the stem
has another shape.
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
