"""ascnet: learn video representations without labels, and measure them honestly.

The public Python API; everything loads when it is first used:

    ascnet.open_shards("shards/ucf101")     builder.shard.ShardDataset
    ascnet.load_backbone("runs/...")        trainer.backbones.base.Backbone with trained weights
    ascnet.open_features("runs/.../x.h5")   evaluate.store.Features
"""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from builder.shard import ShardDataset
    from evaluate.store import Features
    from trainer.backbones.base import Backbone

__version__ = "0.1.0"


def open_shards(folder: str | Path) -> "ShardDataset":
    """A built data set. Raises builder.errors.BuilderError if there is none in `folder`."""
    from builder.shard import ShardDataset

    return ShardDataset(Path(folder))


def load_backbone(run: str | Path) -> "Backbone":
    """The trained backbone of a run, in evaluation mode: float32 N x 3 x T x H x W, normalised as
    `trainer.augment.square_crop` does, to a feature map N x C x T' x H' x W'. Raises
    trainer.errors.TrainerError if the run has no checkpoint."""
    from trainer import checkpoint

    return checkpoint.load_backbone(Path(run)).backbone.eval()


def open_features(path: str | Path) -> "Features":
    """A finished feature store, read into memory."""
    from evaluate.store import Features

    return Features(Path(path))
