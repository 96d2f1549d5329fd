"""Hand-crafted features: what can be found without any network. Both take clips as a network takes
them, float32 N x 3 x T x S x S, normalised, and give N x features."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from trainer.data.augment import MEAN, STD

_LEVELS = 4  # of each of R, G and B


def pixels(clips: torch.Tensor) -> torch.Tensor:
    """The pixels as they are: N x 3TSS."""
    return clips.flatten(1)


def colours(clips: torch.Tensor) -> torch.Tensor:
    """The share of a clip's pixels in each of 4 x 4 x 4 boxes of RGB: N x 64, a row's sum 1."""
    here = clips.device
    mean, std = (torch.tensor(v, device=here)[:, None, None, None] for v in (MEAN, STD))
    levels = ((clips * std + mean) * _LEVELS).long().clamp(0, _LEVELS - 1)
    red, green, blue = levels.unbind(1)
    boxes = ((red * _LEVELS + green) * _LEVELS + blue).flatten(1)
    shares = torch.full(boxes.shape, 1 / boxes.shape[1], device=here)
    return torch.zeros(len(clips), _LEVELS**3, device=here).scatter_add_(1, boxes, shares)


@dataclass(frozen=True)
class HandCrafted:
    features: Callable[[torch.Tensor], torch.Tensor]
    size: int  # pixels, side of the square crop


HAND_CRAFTED = {"pixels": HandCrafted(pixels, 8), "colours": HandCrafted(colours, 32)}
