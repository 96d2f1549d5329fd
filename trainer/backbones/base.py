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
    """Fresh weights for all convolutions in `module`, but for those that have no memory."""
    for convolution in module.modules():
        # Drawing on the meta device imports torch's compiler, which takes seconds.
        if isinstance(convolution, nn.Conv3d) and not convolution.weight.is_meta:
            nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
