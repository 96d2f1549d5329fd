"""What every backbone is."""

from collections import OrderedDict

from torch import nn


class Backbone(nn.Sequential):
    """float32 N x 3 x T x H x W to a feature map N x channels x T' x H' x W': parts that run one
    after the other, by the names that their weights have in the state dict."""

    def __init__(self, channels: int, **parts: nn.Module) -> None:
        super().__init__(OrderedDict(parts))
        self.channels = channels


def draw_convolutions(module: nn.Module) -> None:
    """Fresh weights for all convolutions in `module`."""
    for convolution in module.modules():
        if isinstance(convolution, nn.Conv3d):
            nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
