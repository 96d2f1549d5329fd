"""S3D as CoCLR trains it (Han et al., NeurIPS 2020): eps of batch norm is 1e-5, not 1e-3.

With S3D's names the same weights would compute something else, so what S3D calls `features` is
called `blocks` here; the rest of the state-dict keys is S3D's.
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
