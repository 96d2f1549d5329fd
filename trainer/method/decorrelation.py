"""How much the channels of features repeat each other."""

import torch
from torch.nn.functional import normalize


def correlation(features: torch.Tensor) -> torch.Tensor:
    """Mean squared correlation of two different channels of `features` (N x C, any float type) over
    the N: float32 (under autocast, too), 0 to 1, with gradient. Independent channels have about
    1 / (N - 1); 1: all say the same. A channel of one value, 0 say, is correlated with none; of a
    single channel it is 0.

    The redundancy of Barlow Twins (Zbontar et al. 2021, arXiv 2103.03230, equation 1) within one
    set of features, as VICReg has it of covariances (Bardes et al. 2022, arXiv 2105.04906,
    equation 4), and as a mean over the pairs so that its weight is for any C.
    """
    with torch.autocast(features.device.type, enabled=False):
        rows = features.float()
        unit = normalize(rows - rows.mean(0), dim=0, eps=1e-4)
        squares = (unit.T @ unit).square()
    channels = features.shape[1]
    return (squares.sum() - squares.diagonal().sum()) / max(1, channels * (channels - 1))
