"""ascnet: learn video representations without labels, and measure them honestly.

The public Python API; everything loads when it is first used, so `import ascnet` is instant:

    ascnet.open_shards("shards/ucf101")     videos, and any clip of them as a tensor
    ascnet.load_backbone("runs/...")        a trained 3D-CNN, of a run or of a file of weights
    ascnet.open_features("runs/.../x.h5")   features of videos and clips, as arrays
    ascnet.clip_batches("shards/ucf101")    batches of clips for a training script of your own
    ascnet.Encoder(module, frames, size)    an encoder of your own, for --encoder FILE.py:NAME

docs/tour.md shows them at work. What a user can mend is raised as an ascnet.AscnetError, each a
sentence or two: a builder.errors.BuilderError, trainer.errors.TrainerError or
evaluate.errors.EvaluateError.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from ascnet.shards import Shards
    from builder.errors import AscnetError as AscnetError
    from evaluate.features.store import Features
    from evaluate.own_encoder import Encoder as Encoder
    from trainer.backbones.base import Backbone
    from trainer.data.clip_batches import ClipBatches
    from trainer.data.clip_dataset import ClipDataset

__all__ = [
    "AscnetError",
    "Encoder",
    "clip_batches",
    "clip_dataset",
    "load_backbone",
    "open_features",
    "open_shards",
]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """`Encoder`, which needs torch, and `AscnetError`."""
    if name == "Encoder":
        from evaluate.own_encoder import Encoder

        return Encoder
    if name == "AscnetError":
        from builder.errors import AscnetError

        return AscnetError
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def open_shards(folder: str | Path) -> "Shards":
    """A built data set, as a sequence of videos: `len(shards)`, `for video in shards`, `shards[3]`,
    `shards[1:3]`, `shards["a.mp4"]` (builder.shards.dataset.Video: name, class_name, label,
    group, splits, fps in frames a second, frames, width and height in pixels; times, the seconds of
    every frame where they are unevenly spaced and fps is their average, else None).

    `shards.clip(video, start=0, frames=16, stride=1)` is a clip as a uint8 tensor, T x H x W x 3,
    RGB; safe to call from several threads. Raises BuilderError if `folder` holds no finished data
    set.
    """
    from ascnet.shards import Shards

    return Shards(Path(folder))


def load_backbone(run_or_file: str | Path, backbone: str | None = None) -> "Backbone":
    """A trained backbone, in evaluation mode, on the CPU: a torch module from float32 clips
    N x 3 x T x S x S to a float32 feature map N x C x T' x S' x S', C = its `channels`.

    The clips are RGB in [0, 1], minus MEAN and over STD of `trainer.data.augment` (or as
    `data.normalise` says, where a run has another than "fixed"), as its
    `square_crop` makes them of uint8 frames. Of a run directory it is the newest
    checkpoint. Of a file (`ascnet export`, torchvision, RSPNet, CoCLR, ...) it is the one that the
    file names or that all its tensors fit, unless `backbone` says which, such as "r3d18". Raises
    TrainerError if there is none, or if not every tensor fits.
    """
    from ascnet import encoders

    return encoders.load_backbone(Path(run_or_file), backbone)


def open_features(file: str | Path) -> "Features":
    """A finished feature store, its videos read into memory: `features` (float32, videos x
    channels), `names`, `labels` (int64; -1: unlabelled), `class_of`, `groups`, `splits`, `fps`
    (float64, frames a second; NaN: unknown), `clip_features` (float32, clips x channels),
    `clip_video` and `clip_frames` (int32), `seconds(clip)`, `duration` (float64, seconds of every
    video), and `attributes`, which say how they were made. Raises EvaluateError if it is damaged,
    unfinished or no store."""
    from evaluate.features.store import Features

    return Features(Path(file))


def clip_batches(
    shards: str | Path,
    *,
    rank: int = 0,
    world: int = 1,
    device: "str | torch.device" = "cpu",
    **settings: Any,
) -> "ClipBatches":
    """An endless row of batches of clips of the training videos in `shards` (a data set, or a
    folder of several), decoded ahead by threads: `for batch in clip_batches(...)`, each with
    `clips` (float32, N x 3 x T x S x S), `labels`, `videos` and `strides` (int64, N).

    The settings are those of trainer.data.clip_batches.ClipSettings: frames, strides, clips (of a
    video), size, batch (videos over all ranks), seed, output ("augmented", "cropped" or "frames"),
    augment, split, short_videos, short_side, fps, workers. Rank `rank` of `world` gets its equal
    share of every batch. With two clips a video, two strides and a recipe's settings these are the
    batches that `ascnet train` computes. `state_dict()` and `load_state_dict()` go on at any batch.
    Raises TrainerError for a setting that is not there or has a value it may not have, BuilderError
    where there are no shards.
    """
    from ascnet import clip_loading

    return clip_loading.clip_batches(Path(shards), (rank, world), device, settings)


def clip_dataset(shards: str | Path, **settings: Any) -> "ClipDataset":
    """The training videos in `shards` as a map-style data set for torch's DataLoader, whatever its
    workers and their start method: item i is a random clip of video i (float32, 3 x T x S x S) and
    its label. The settings and errors are those of `clip_batches`, which is faster: its threads
    share frames and memory, and it augments whole batches."""
    from ascnet import clip_loading

    return clip_loading.clip_dataset(Path(shards), settings)
