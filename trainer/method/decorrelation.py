"""The correlation between channels of the features, as a penalty against redundancy."""

import torch
from torch.nn.functional import normalize


def correlation(features: torch.Tensor) -> torch.Tensor:
    """Mean squared correlation over all pairs of different channels of `features` (N x C, any float
    type): a float32 scalar (under autocast, too), 0 to 1, with gradient. Independent channels have
    about 1 / (N - 1), identical ones 1. A constant channel correlates with none; for C = 1 it is 0.

    This is the redundancy term of Barlow Twins (Zbontar et al. 2021, arXiv 2103.03230, equation 1)
    within one set of features, as in VICReg, which uses covariances (Bardes et al. 2022, arXiv
    2105.04906, equation 4). It is a mean over pairs, so that one weight suits any C.
    """
    with torch.autocast(features.device.type, enabled=False):
        rows = features.float()
        unit = normalize(rows - rows.mean(0), dim=0, eps=1e-4)
        squares = (unit.T @ unit).square()
    channels = features.shape[1]
    return (squares.sum() - squares.diagonal().sum()) / max(1, channels * (channels - 1))
