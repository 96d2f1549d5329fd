"""S3D, an Inception network with 3-D convolutions split into 1xkxk and kx1x1, and S3D-G, which adds
feature gating (Xie et al., ECCV 2018).

The architecture and the state-dict keys are those of torchvision's `s3d`, without `classifier`.
S3D-G has the same keys and those of its gates, which follow each temporal convolution, as in the
paper and in RSPNet. (CoCLR and the authors' own code gate every Inception branch.)

They map float32 N x 3 x T x H x W to N x 1024 x T/8 x H/32 x W/32. Each halving rounds up, except
the last, which rounds down (as in torchvision) and keeps sides of 1. 16x112x112 gives 2x3x3, and
64x224x224 gives 8x7x7.
"""

import torch
from torch import nn
from torch.nn.functional import max_pool3d

from trainer.backbones.base import Backbone, draw_convolutions


class Inception(nn.Module):
    """Four parallel branches: 1x1x1; two of 1x1x1 and a separable 3x3x3; max pooling and 1x1x1."""

    def __init__(
        self,
        inside: int,
        branch0: int,
        branch1: tuple[int, int],
        branch2: tuple[int, int],
        branch3: int,
        gating: bool,
    ) -> None:
        """Input channels and output channels of each branch; for branches 1 and 2, those between
        their convolutions come first."""
        super().__init__()
        self.branch0 = _convolution(inside, branch0)
        self.branch1 = nn.Sequential(
            _convolution(inside, branch1[0]), _separable(*branch1, 3, 1, gating)
        )
        self.branch2 = nn.Sequential(
            _convolution(inside, branch2[0]), _separable(*branch2, 3, 1, gating)
        )
        self.branch3 = nn.Sequential(nn.MaxPool3d(3, 1, 1), _convolution(inside, branch3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        branches = self.branch0(x), self.branch1(x), self.branch2(x), self.branch3(x)
        return torch.cat(branches, dim=1)


class Gate(nn.Module):
    """Self-gating: weights channels by the clip's mean features, sigmoid(W mean(x) + b) * x."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc = nn.Linear(channels, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weights = torch.sigmoid(self.fc(x.mean(dim=(2, 3, 4))))
        return x * weights[:, :, None, None, None]


class Halving(nn.Module):
    """2x2x2 max pooling that rounds sizes down and keeps sides of 1."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return max_pool3d(x, [min(2, side) for side in x.shape[2:]])


def _separable(inside: int, outside: int, side: int, stride: int, gating: bool) -> nn.Sequential:
    half = side // 2
    return nn.Sequential(
        _convolution(inside, outside, (1, side, side), (1, stride, stride), (0, half, half)),
        _convolution(outside, outside, (side, 1, 1), (stride, 1, 1), (half, 0, 0)),
        *([Gate(outside)] if gating else []),
    )


def _convolution(
    inside: int,
    outside: int,
    side: tuple[int, int, int] = (1, 1, 1),
    stride: tuple[int, int, int] = (1, 1, 1),
    padding: tuple[int, int, int] = (0, 0, 0),
) -> nn.Sequential:
    # eps as in the paper's code and torchvision. Their momentum of 0.001 suits long schedules: in a
    # short run, the running statistics would stay near their initial values.
    return nn.Sequential(
        nn.Conv3d(inside, outside, side, stride, padding, bias=False),
        nn.BatchNorm3d(outside, eps=1e-3),
        nn.ReLU(inplace=True),
    )


def _s3d(gating: bool) -> Backbone:
    """`gating`: with a gate after each temporal convolution."""
    net = Backbone(
        1024,
        features=nn.Sequential(
            _separable(3, 64, 7, 2, gating),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)),
            _convolution(64, 64),
            _separable(64, 192, 3, 1, gating),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)),
            Inception(192, 64, (96, 128), (16, 32), 32, gating),
            Inception(256, 128, (128, 192), (32, 96), 64, gating),
            nn.MaxPool3d(3, 2, 1),
            Inception(480, 192, (96, 208), (16, 48), 64, gating),
            Inception(512, 160, (112, 224), (24, 64), 64, gating),
            Inception(512, 128, (128, 256), (24, 64), 64, gating),
            Inception(512, 112, (144, 288), (32, 64), 64, gating),
            Inception(528, 256, (160, 320), (32, 128), 128, gating),
            Halving(),
            Inception(832, 256, (160, 320), (32, 128), 128, gating),
            Inception(832, 384, (192, 384), (48, 128), 128, gating),
        ),
    )
    draw_convolutions(net)
    return net


def s3d() -> Backbone:
    """S3D: 7 910 048 weights."""
    return _s3d(gating=False)


def s3dg() -> Backbone:
    """S3D-G: 8 675 744 weights."""
    return _s3d(gating=True)
