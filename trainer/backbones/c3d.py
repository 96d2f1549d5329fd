"""C3D: eight 3x3x3 convolutions (Tran et al., ICCV 2015, section 3.3), each with batch norm, as in
self-supervised work (VCOP, CVPR 2019; RSPNet, AAAI 2021).

It ends at the last convolution: there is no pool5 and no fc6. The state-dict keys are those of
VCOP's and RSPNet's C3D, without `linear`. Theirs rounds sizes down at each pooling, and computes
the same if T is a multiple of 8, and H and W of 16.
"""

from torch import nn

from trainer.backbones.base import Backbone, draw_convolutions

# Name, input channels, output channels, and whether a pooling follows.
_LAYERS = (
    ("1", 3, 64, True),
    ("2", 64, 128, True),
    ("3a", 128, 256, False),
    ("3b", 256, 256, True),
    ("4a", 256, 512, False),
    ("4b", 512, 512, True),
    ("5a", 512, 512, False),
    ("5b", 512, 512, False),
)


def c3d() -> Backbone:
    """C3D, to N x 512 x T/8 x H/16 x W/16 (each rounded up, as in Caffe): 27 661 440 weights."""
    parts: dict[str, nn.Module] = {}
    for name, inside, outside, is_pooled in _LAYERS:
        # The bias has no effect before batch norm, but checkpoints of VCOP and RSPNet have it.
        convolution = nn.Conv3d(inside, outside, 3, 1, 1)
        draw_convolutions(convolution)
        nn.init.zeros_(convolution.bias)  # type: ignore[arg-type]
        parts |= {f"conv{name}": convolution, f"bn{name}": nn.BatchNorm3d(outside)}
        parts[f"relu{name}"] = nn.ReLU(inplace=True)
        if is_pooled:
            sides = (1, 2, 2) if name == "1" else (2, 2, 2)  # the first keeps T: section 3.3
            parts[f"pool{name[0]}"] = nn.MaxPool3d(sides, ceil_mode=True)
    return Backbone(512, **parts)
