"""What every backbone is."""

from collections.abc import Callable

import torch
from torch import nn


class Backbone(nn.Module):
    """float32 N x 3 x T x H x W to a feature map N x channels x T' x H' x W'."""

    channels: int
    forward: Callable[[torch.Tensor], torch.Tensor]
