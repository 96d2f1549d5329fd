"""S3D as CoCLR trains it (Han et al., NeurIPS 2020): eps of batch norm is 1e-5, not 1e-3.

With S3D's names the same weights would compute something else, so what S3D calls `features` is
called `blocks` here; the rest of the state-dict keys is S3D's.
"""

import torch
from torch import nn

from trainer.backbones.base import Backbone
from trainer.backbones.s3d import s3d


class S3DCoCLR(Backbone):
    """float32 N x 3 x T x H x W to N x 1024 x T/8 x H/32 x W/32, rounded as S3D's."""

    channels = 1024

    def __init__(self) -> None:
        super().__init__()
        self.blocks = s3d().features
        for module in self.blocks.modules():
            if isinstance(module, nn.BatchNorm3d):
                module.eps = 1e-5

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        x: torch.Tensor = self.blocks(clips)
        return x


def s3d_coclr() -> S3DCoCLR:
    """S3D of CoCLR: 7 910 048 weights."""
    return S3DCoCLR()
