"""R3D-18 as TCLR trains it (Dave et al., CVIU 2022): the last stage keeps the number of frames.

Where R3D-18 has a stride of 2 in time, its first convolution has a dilation of 2. The weights have
R3D-18's shapes but would compute something else in it, so the last stage has a name of its own:
`layer4_dilated`. The other state-dict keys are R3D-18's.
"""

import torch
from torch import nn

from trainer.backbones.base import Backbone
from trainer.backbones.r3d import r3d18


class R3D18TCLR(Backbone):
    """float32 N x 3 x T x H x W to N x 512 x T/4 x H/16 x W/16 (each rounded up)."""

    channels = 512

    def __init__(self) -> None:
        super().__init__()
        plain = r3d18()
        self.stem = plain.stem
        self.layer1, self.layer2, self.layer3 = plain.layer1, plain.layer2, plain.layer3
        self.layer4_dilated = plain.layer4
        for module in self.layer4_dilated.modules():
            if isinstance(module, nn.Conv3d) and module.stride == (2, 2, 2):
                module.stride = (1, 2, 2)
                if module.kernel_size == (3, 3, 3):  # not the shortcut
                    module.dilation = (2, 1, 1)
                    module.padding = (2, 1, 1)

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        x: torch.Tensor = self.layer3(self.layer2(self.layer1(self.stem(clips))))
        x = self.layer4_dilated(x)
        return x


def r3d18_tclr() -> R3D18TCLR:
    """R3D-18 of TCLR: 33 166 272 weights."""
    return R3D18TCLR()
