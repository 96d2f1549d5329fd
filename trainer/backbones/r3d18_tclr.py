"""R3D-18 as trained by TCLR (Dave et al., CVIU 2022): no temporal stride in the last stage.

Its first convolution has a temporal dilation of 2 in place of R3D-18's stride of 2. The weights
have R3D-18's shapes, but R3D-18 would compute something else with them, so the last stage has a
name of its own: `layer4_dilated`. The other state-dict keys are R3D-18's.
"""

from torch import nn

from trainer.backbones.base import Backbone
from trainer.backbones.r3d import r3d18


def r3d18_tclr() -> Backbone:
    """R3D-18 of TCLR, to N x 512 x T/4 x H/16 x W/16 (each rounded up): 33 166 272 weights."""
    parts = dict(r3d18().named_children())
    last = parts.pop("layer4")
    for module in last.modules():
        if isinstance(module, nn.Conv3d) and module.stride == (2, 2, 2):
            module.stride = (1, 2, 2)
            if module.kernel_size == (3, 3, 3):  # not the shortcut
                module.dilation = (2, 1, 1)
                module.padding = (2, 1, 1)
    return Backbone(512, **parts, layer4_dilated=last)
