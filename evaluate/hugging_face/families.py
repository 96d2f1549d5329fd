"""The supported model families: the clips that they take, and what becomes the features."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

IMAGE_FRAMES, IMAGE_FPS = 8, 4.0  # clips for image models; our choice


@dataclass(frozen=True)
class Family:
    """Models with the same `model_type`.

    Attributes:
        model: name of their class in transformers
        network: makes the torch module, from clips N x 3 x T x S x S to tokens N x L x C, of a
            model and the share of the frames' side that it sees
        frames: name of the number of frames in the model's config; "": an image model
        stride: the authors' frame stride for a number of frames
        fps: strides count frames at this rate; 0: stored frames
        class_token: whether the first token gives the features; otherwise, the mean of all tokens
        offset: whether 1 is subtracted from the rescaled values unless the file says otherwise
        classifier: the class to load instead if the checkpoint is of that class
        unused: prefixes of the names of weights that do not affect the features
    """

    model: str
    network: Callable[[Any, float], nn.Module]
    frames: str = ""
    stride: Callable[[int], int] = lambda frames: 1
    fps: float = 0.0
    class_token: bool = False
    offset: bool = False
    classifier: str = ""
    unused: tuple[str, ...] = ()


class ClipTokens(nn.Module):
    """A video model. It gives its tokens or, with `norm`, the input of its classifier."""

    def __init__(self, model: nn.Module, share: float, norm: nn.Module | None = None) -> None:
        """`norm` is applied to the mean of the tokens, as before the model's classifier."""
        super().__init__()
        self.model, self.norm = model, norm
        self._share = share

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        """float32, N x 3 x T x S x S to N x L x C; with `norm`, L is 1."""
        frames = middle(clips, self._share).transpose(1, 2)
        tokens: torch.Tensor = self.model(frames).last_hidden_state
        return tokens if self.norm is None else self.norm(tokens.mean(1, keepdim=True))


class FrameTokens(nn.Module):
    """An image model, which gives one token per frame."""

    def __init__(self, model: nn.Module, share: float) -> None:
        super().__init__()
        self.model = model
        self._share = share

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        """float32, N x 3 x T x S x S to N x T x C."""
        frames = middle(clips, self._share).transpose(1, 2)
        pooled: torch.Tensor = self.model(frames.flatten(0, 1)).pooler_output
        tokens: torch.Tensor = pooled.unflatten(0, frames.shape[:2])
        return tokens


class OfPatches(nn.Module):
    """SigLIP 2's vision model for any aspect ratio, which takes images as rows of patches."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: torch.Tensor) -> Any:
        """Run the model on images, float32 N x 3 x S x S; returns its output object."""
        patches, side = as_patches(images, self.model.config.patch_size)
        mask = torch.ones(patches.shape[:2], dtype=torch.int32, device=images.device)
        sides = torch.full((len(images), 2), side, device=images.device)
        return self.model(patches, pixel_attention_mask=mask, spatial_shapes=sides)


def middle(clips: torch.Tensor, share: float) -> torch.Tensor:
    """Crop square frames (... x S x S) to the square in their middle that has this share of the
    side."""
    whole = clips.shape[-1]
    side = round(whole * share)
    start = (whole - side) // 2
    return clips[..., start : start + side, start : start + side]


def as_patches(images: torch.Tensor, pixels: int) -> tuple[torch.Tensor, int]:
    """Cut images, N x 3 x S x S, into patches in reading order, N x L x (pixels * pixels * 3). Also
    returns the number of patches along a side."""
    side = images.shape[-1] // pixels
    whole = images[..., : side * pixels, : side * pixels]
    grid = whole.unflatten(3, (side, pixels)).unflatten(2, (side, pixels))
    return grid.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2), side


def _videomae(model: Any, share: float) -> nn.Module:
    if hasattr(model, "videomae"):  # with a classifier
        return ClipTokens(model.videomae, share, model.fc_norm)
    return ClipTokens(model, share)


def _vjepa2(model: Any, share: float) -> nn.Module:
    return ClipTokens(model.encoder, share)


def _vivit(model: Any, share: float) -> nn.Module:
    model.pooler = None
    return ClipTokens(model, share)


def _siglip2(model: Any, share: float) -> nn.Module:
    return FrameTokens(OfPatches(model), share)


def _timesformer_stride(frames: int) -> int:
    """Stride 32 for 8 frames, 16 for 16 and 4 for 96."""
    return max(4, 256 // max(1, frames))


_CLIP = Family("CLIPVisionModel", FrameTokens)
_SIGLIP = Family("SiglipVisionModel", FrameTokens)
_SIGLIP2 = Family("Siglip2VisionModel", _siglip2)

FAMILIES = {
    "videomae": Family(
        "VideoMAEModel",
        _videomae,
        "num_frames",
        stride=lambda frames: 4,
        classifier="VideoMAEForVideoClassification",
        unused=("classifier.",),
    ),
    "vjepa2": Family("VJEPA2Model", _vjepa2, "frames_per_clip", fps=4.0, unused=("predictor.",)),
    "timesformer": Family(
        "TimesformerModel", ClipTokens, "num_frames", _timesformer_stride, class_token=True
    ),
    "vivit": Family(
        "VivitModel",
        _vivit,
        "num_frames",
        stride=lambda frames: 2,
        class_token=True,
        offset=True,
        unused=("pooler.",),
    ),
    "dinov2": Family("Dinov2Model", FrameTokens),
    "dinov2_with_registers": Family("Dinov2WithRegistersModel", FrameTokens),
    "dinov3_vit": Family("DINOv3ViTModel", FrameTokens),
    "dinov3_convnext": Family("DINOv3ConvNextModel", FrameTokens),
    "clip": _CLIP,
    "clip_vision_model": _CLIP,
    "siglip": _SIGLIP,
    "siglip_vision_model": _SIGLIP,
    "siglip2": _SIGLIP2,
    "siglip2_vision_model": _SIGLIP2,
}
