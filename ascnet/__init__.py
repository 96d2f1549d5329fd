"""ascnet: learn video representations without labels, and evaluate them.

The public Python API. Modules load on first use, so `import ascnet` is instant:

    ascnet.open_shards("shards/ucf101")     videos, and any clip of them as a tensor
    ascnet.load_backbone("runs/...")        a trained 3D-CNN, from a run or a file of weights
    ascnet.open_features("runs/.../x.h5")   features of videos and clips, as arrays
    ascnet.clip_batches("shards/ucf101")    batches of clips for your own training script
    ascnet.Encoder(module, frames, size)    your own encoder, for --encoder FILE.py:NAME

docs/tour.md demonstrates them. Errors that a user can fix are raised as an ascnet.AscnetError,
which is a builder.errors.BuilderError, trainer.errors.TrainerError or
evaluate.errors.EvaluateError; each message is a sentence or two.
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
    """Load `Encoder`, which needs torch, and `AscnetError` on first use."""
    if name == "Encoder":
        from evaluate.own_encoder import Encoder

        return Encoder
    if name == "AscnetError":
        from builder.errors import AscnetError

        return AscnetError
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def open_shards(folder: str | Path) -> "Shards":
    """Open a built data set as a sequence of videos: `len(shards)`, `for video in shards`,
    `shards[3]`, `shards[1:3]`, `shards["a.mp4"]`.

    A video (builder.shards.dataset.Video) has name, class_name, label, group, splits, fps (frames
    per second), frames, width and height (pixels), and times: the seconds of every frame if they
    are unevenly spaced, in which case fps is their average; otherwise None.

    `shards.clip(video, start=0, frames=16, stride=1)` is a clip as a uint8 tensor, T x H x W x 3,
    RGB; it may be called from several threads. Raises BuilderError if `folder` has no finished data
    set.
    """
    from ascnet.shards import Shards

    return Shards(Path(folder))


def load_backbone(run_or_file: str | Path, backbone: str | None = None) -> "Backbone":
    """Load a trained backbone in evaluation mode on the CPU: a torch module from float32 clips N x
    3 x T x S x S to a float32 feature map N x C x T' x S' x S', where C is its `channels`.

    Clips are RGB in [0, 1], normalised by MEAN and STD of `trainer.data.augment` (or as
    `data.normalise` of the run says, if it is not "fixed"), as its `square_crop` prepares them from
    uint8 frames. For a run directory, the newest checkpoint is loaded. For a file (from `ascnet
    export`, torchvision, RSPNet, CoCLR, ...), the backbone is the one that the file names or that
    all its tensors fit, unless `backbone` is given, such as "r3d18". Raises TrainerError if there
    is none, or if a tensor does not fit.
    """
    from ascnet import encoders

    return encoders.load_backbone(Path(run_or_file), backbone)


def open_features(file: str | Path) -> "Features":
    """Open a finished feature store and read its videos into memory: `features` (float32, videos x
    channels), `names`, `labels` (int64; -1: unlabelled), `class_of`, `groups`, `splits`, `fps`
    (float64, frames per second; NaN: unknown), `clip_features` (float32, clips x channels),
    `clip_video` and `clip_frames` (int32), `seconds(clip)`, `duration` (float64, seconds of every
    video), and `attributes`, which describe how they were computed. Raises EvaluateError if the
    file is damaged, unfinished or not a store."""
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
    """Iterate endlessly over batches of clips of the training videos in `shards` (a data set, or a
    folder of several), which threads decode ahead: `for batch in clip_batches(...)`. Each batch has
    `clips` (float32, N x 3 x T x S x S), `labels`, `videos` and `strides` (int64, N).

    The settings are those of trainer.data.clip_batches.ClipSettings: frames, strides, clips (per
    video), size, batch (videos over all ranks), seed, output ("augmented", "cropped" or "frames"),
    augment, split, short_videos, short_side, fps, workers. Rank `rank` of `world` gets an equal
    share of every batch. With two clips per video, two strides and a recipe's settings, these are
    the batches that `ascnet train` uses. `state_dict()` and `load_state_dict()` resume at any
    batch. Raises TrainerError for an unknown setting or an invalid value, and BuilderError if there
    are no shards.
    """
    from ascnet import clip_loading

    return clip_loading.clip_batches(Path(shards), (rank, world), device, settings)


def clip_dataset(shards: str | Path, **settings: Any) -> "ClipDataset":
    """Open the training videos in `shards` as a map-style data set for torch's DataLoader, with any
    number of workers and any start method. Item i is a random clip of video i (float32, 3 x T x S x
    S) and its label. Settings and errors are those of `clip_batches`, which is faster: its threads
    share frames and memory, and it augments whole batches."""
    from ascnet import clip_loading

    return clip_loading.clip_dataset(Path(shards), settings)
