"""S3D-G as trained by RSPNet (Chen et al., AAAI 2021): the stem drops every second frame first.

In S3D-G's stem the temporal convolution has the temporal stride; here the spatial convolution
before it has it. S3D-G would compute something else with the same weights, so the stem, S3D-G's
`features.0`, is called `stem` here; the other state-dict keys are S3D-G's.
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
