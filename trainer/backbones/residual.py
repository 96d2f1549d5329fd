"""The ResNet of two-convolution blocks that R3D, R(2+1)D and their variants share (Tran et al.,
CVPR 2018, table 1).

The state-dict keys are those of torchvision's video ResNets, without `fc`.
"""

from collections.abc import Callable

import torch
from torch import nn

from trainer.backbones.base import Backbone, draw_convolutions

# (input channels, output channels, stride) to the two convolutions of a block.
Convolutions = Callable[[int, int, int], tuple[nn.Module, nn.Module]]
# The same arguments to the convolution of a shortcut that changes channels or stride.
Shortcut = Callable[[int, int, int], nn.Module]


def projection(inside: int, outside: int, stride: int) -> nn.Module:
    """The usual shortcut: a 1x1x1 convolution."""
    return nn.Conv3d(inside, outside, 1, stride, bias=False)


def residual_net(
    stem: nn.Sequential,
    width: int,
    blocks: tuple[int, int, int, int],
    convolutions: Convolutions,
    shortcut: Shortcut = projection,
) -> Backbone:
    """Make a ResNet that maps float32 N x 3 x T x H x W to N x channels x T/8 x H/16 x W/16 (each
    rounded up), if the stem halves H and W. `width`: channels of the stem and first stage, doubled
    by each further stage. `blocks`: number of blocks in each stage."""

    def stage(inside: int, outside: int, count: int, stride: int) -> nn.Sequential:
        first = Block(inside, outside, stride, convolutions, shortcut)
        others = (Block(outside, outside, 1, convolutions, shortcut) for _ in range(count - 1))
        return nn.Sequential(first, *others)

    net = Backbone(
        8 * width,
        stem=stem,
        layer1=stage(width, width, blocks[0], 1),
        layer2=stage(width, 2 * width, blocks[1], 2),
        layer3=stage(2 * width, 4 * width, blocks[2], 2),
        layer4=stage(4 * width, 8 * width, blocks[3], 2),
    )
    draw_convolutions(net)
    return net


class Block(nn.Module):
    """A residual block: two convolutions and a shortcut."""

    def __init__(
        self,
        inside: int,
        outside: int,
        stride: int,
        convolutions: Convolutions,
        shortcut: Shortcut,
    ) -> None:
        super().__init__()
        first, second = convolutions(inside, outside, stride)
        self.conv1 = nn.Sequential(first, nn.BatchNorm3d(outside), nn.ReLU(inplace=True))
        self.conv2 = nn.Sequential(second, nn.BatchNorm3d(outside))
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride != 1 or inside != outside:
            self.downsample = nn.Sequential(
                shortcut(inside, outside, stride), nn.BatchNorm3d(outside)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        out: torch.Tensor = self.relu(self.conv2(self.conv1(x)) + shortcut)
        return out
