"""S3D-G as RSPNet trains it (Chen et al., AAAI 2021): the stem drops every second frame at once.

In S3D-G the spatial convolution of the stem sees all frames, and the temporal one has the stride;
here the spatial one has it. With S3D-G's names the same weights would compute something else, so
the stem, `features.0` of S3D-G, is called `stem`; the other state-dict keys are S3D-G's.
"""

from torch import nn

from trainer.backbones.base import Backbone
from trainer.backbones.s3d import s3dg


def s3dg_rspnet() -> Backbone:
    """S3D-G of RSPNet: 8 675 744 weights."""
    (features,) = s3dg()
    assert isinstance(features, nn.Sequential)
    stem = features[0]
    for module in stem.modules():
        if isinstance(module, nn.Conv3d):
            module.stride = (2, 2, 2) if module.kernel_size[0] == 1 else (1, 1, 1)
    return Backbone(1024, stem=stem, features=features[1:])
