"""C3D: eight 3x3x3 convolutions (Tran et al., ICCV 2015, section 3.3), each with batch norm, as
self-supervised work trains it (VCOP, CVPR 2019; RSPNet, AAAI 2021).

It ends at the last convolution: there is no pool5 and no fc6. The state-dict keys are those of
VCOP's and RSPNet's C3D, without `linear`. Theirs rounds down at each pooling: it computes the same
where T is a multiple of 8, and H and W of 16.
"""

import torch
from torch import nn

from trainer.backbones.base import Backbone


class C3D(Backbone):
    """float32 N x 3 x T x H x W to N x 512 x T/8 x H/16 x W/16 (each rounded up, as in Caffe)."""

    channels = 512

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = _convolution(3, 64)
        self.pool1 = nn.MaxPool3d((1, 2, 2), ceil_mode=True)  # keeps time: section 3.3
        self.conv2, self.bn2 = _convolution(64, 128)
        self.pool2 = nn.MaxPool3d(2, ceil_mode=True)
        self.conv3a, self.bn3a = _convolution(128, 256)
        self.conv3b, self.bn3b = _convolution(256, 256)
        self.pool3 = nn.MaxPool3d(2, ceil_mode=True)
        self.conv4a, self.bn4a = _convolution(256, 512)
        self.conv4b, self.bn4b = _convolution(512, 512)
        self.pool4 = nn.MaxPool3d(2, ceil_mode=True)
        self.conv5a, self.bn5a = _convolution(512, 512)
        self.conv5b, self.bn5b = _convolution(512, 512)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        relu = self.relu
        x = self.pool1(relu(self.bn1(self.conv1(clips))))
        x = self.pool2(relu(self.bn2(self.conv2(x))))
        x = relu(self.bn3a(self.conv3a(x)))
        x = self.pool3(relu(self.bn3b(self.conv3b(x))))
        x = relu(self.bn4a(self.conv4a(x)))
        x = self.pool4(relu(self.bn4b(self.conv4b(x))))
        x = relu(self.bn5a(self.conv5a(x)))
        last: torch.Tensor = relu(self.bn5b(self.conv5b(x)))
        return last


def _convolution(inside: int, outside: int) -> tuple[nn.Conv3d, nn.BatchNorm3d]:
    # The bias does nothing before batch norm, but files of VCOP and RSPNet have it.
    convolution = nn.Conv3d(inside, outside, 3, 1, 1)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    nn.init.zeros_(convolution.bias)  # type: ignore[arg-type]
    return convolution, nn.BatchNorm3d(outside)


def c3d() -> C3D:
    """C3D: 27 661 440 weights."""
    return C3D()
