"""The base class of all backbones."""

from collections import OrderedDict

from torch import nn


class Backbone(nn.Sequential):
    """Maps clips (float32, N x 3 x T x H x W) to a feature map (N x channels x T' x H' x W').

    It is a sequence of parts, whose names are the prefixes of their weights in the state dict.
    """

    def __init__(self, channels: int, **parts: nn.Module) -> None:
        super().__init__(OrderedDict(parts))
        self.channels = channels


def draw_convolutions(module: nn.Module) -> None:
    """Draw random weights for all convolutions in `module`, except on the meta device."""
    for convolution in module.modules():
        # There, drawing would import torch's compiler, which takes seconds.
        if isinstance(convolution, nn.Conv3d) and not convolution.weight.is_meta:
            nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
