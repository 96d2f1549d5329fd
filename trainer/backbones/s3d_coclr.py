"""S3D as trained by CoCLR (Han et al., NeurIPS 2020): batch norm's eps is 1e-5, not 1e-3.

S3D would compute something else with the same weights, so S3D's `features` is called `blocks` here;
the other parts of the state-dict keys are S3D's.
"""

from torch import nn

from trainer.backbones.base import Backbone
from trainer.backbones.s3d import s3d


def s3d_coclr() -> Backbone:
    """S3D of CoCLR: 7 910 048 weights."""
    (blocks,) = s3d()
    for module in blocks.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.eps = 1e-5
    return Backbone(1024, blocks=blocks)
