"""R3D: a ResNet of 3x3x3 convolutions (Tran et al., CVPR 2018, section 3.2).

The architecture and the state-dict keys are those of torchvision's `r3d_18`, without `fc`.
"""

import torch
from torch import nn


class R3D(nn.Module):
    """float32 N x 3 x T x H x W to N x channels x T/8 x H/16 x W/16 (each rounded up)."""

    def __init__(self, width: int, blocks: tuple[int, int, int, int]) -> None:
        """`width`: channels of the stem; every stage doubles it. `blocks` of each stage."""
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv3d(3, width, (3, 7, 7), (1, 2, 2), (1, 3, 3), bias=False),
            nn.BatchNorm3d(width),
            nn.ReLU(inplace=True),
        )
        self.layer1 = _stage(width, width, blocks[0], stride=1)
        self.layer2 = _stage(width, 2 * width, blocks[1], stride=2)
        self.layer3 = _stage(2 * width, 4 * width, blocks[2], stride=2)
        self.layer4 = _stage(4 * width, 8 * width, blocks[3], stride=2)
        self.channels = 8 * width
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        x: torch.Tensor = self.layer1(self.stem(clips))
        x = self.layer4(self.layer3(self.layer2(x)))
        return x


class Block(nn.Module):
    """Two convolutions and a shortcut."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(
            nn.Conv3d(inside, outside, 3, stride, 1, bias=False),
            nn.BatchNorm3d(outside),
            nn.ReLU(inplace=True),
        )
        self.conv2 = nn.Sequential(
            nn.Conv3d(outside, outside, 3, 1, 1, bias=False), nn.BatchNorm3d(outside)
        )
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride != 1 or inside != outside:
            self.downsample = nn.Sequential(
                nn.Conv3d(inside, outside, 1, stride, bias=False), nn.BatchNorm3d(outside)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        out: torch.Tensor = self.relu(self.conv2(self.conv1(x)) + shortcut)
        return out


def _stage(inside: int, outside: int, blocks: int, stride: int) -> nn.Sequential:
    first = Block(inside, outside, stride)
    return nn.Sequential(first, *(Block(outside, outside, 1) for _ in range(blocks - 1)))


def r3d18() -> R3D:
    """R3D-18: 33 166 272 weights."""
    return R3D(64, (2, 2, 2, 2))


def r3d_tiny() -> R3D:
    """One block a stage and 16 channels, for CPUs: 903 984 weights."""
    return R3D(16, (1, 1, 1, 1))
