"""S3D-G as RSPNet trains it (Chen et al., AAAI 2021): the stem drops every second frame at once.

In S3D-G the spatial convolution of the stem sees all frames, and the temporal one has the stride;
here the spatial one has it. With S3D-G's names the same weights would compute something else, so
the stem, `features.0` of S3D-G, is called `stem`; the other state-dict keys are S3D-G's.
"""

import torch
from torch import nn

from trainer.backbones.base import Backbone
from trainer.backbones.s3d import s3dg


class S3DGRSPNet(Backbone):
    """float32 N x 3 x T x H x W to N x 1024 x T/8 x H/32 x W/32, rounded as S3D-G's."""

    channels = 1024

    def __init__(self) -> None:
        super().__init__()
        plain = s3dg().features
        self.stem, self.features = plain[0], plain[1:]
        for module in self.stem.modules():
            if isinstance(module, nn.Conv3d):
                module.stride = (2, 2, 2) if module.kernel_size[0] == 1 else (1, 1, 1)

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        x: torch.Tensor = self.features(self.stem(clips))
        return x


def s3dg_rspnet() -> S3DGRSPNet:
    """S3D-G of RSPNet: 8 675 744 weights."""
    return S3DGRSPNet()
