"""Hand-crafted features: baselines without a network. They map normalised clips (float32,
N x 3 x T x S x S) to N x features."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from trainer.data.augment import MEAN, STD

_LEVELS = 4  # bins for each of R, G and B


def pixels(clips: torch.Tensor) -> torch.Tensor:
    """The flattened pixels: N x 3TSS."""
    return clips.flatten(1)


def colours(clips: torch.Tensor) -> torch.Tensor:
    """A colour histogram of each clip (of normalisation "fixed"), with 4 x 4 x 4 bins in RGB:
    N x 64, rows sum to 1."""
    device = clips.device
    mean, std = (torch.tensor(v, device=device)[:, None, None, None] for v in (MEAN, STD))
    levels = ((clips * std + mean) * _LEVELS).long().clamp(0, _LEVELS - 1)
    red, green, blue = levels.unbind(1)
    bins = ((red * _LEVELS + green) * _LEVELS + blue).flatten(1)
    shares = torch.full(bins.shape, 1 / bins.shape[1], device=device)
    return torch.zeros(len(clips), _LEVELS**3, device=device).scatter_add_(1, bins, shares)


@dataclass(frozen=True)
class HandCrafted:
    """A function from clips to features, and the clips that it takes, whatever the recipe says.

    Attributes:
        size: side of the square crop, in pixels
        normalise: as in the recipe's data.normalise
    """

    features: Callable[[torch.Tensor], torch.Tensor]
    size: int
    normalise: str = "fixed"


HAND_CRAFTED = {
    "pixels": HandCrafted(pixels, 8),
    "motion-pixels": HandCrafted(pixels, 8, "motion"),
    "colours": HandCrafted(colours, 32),
}
