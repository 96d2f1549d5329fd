"""Numbers that say whether training is healthy."""

import math

import torch


def embedding_std(embeddings: torch.Tensor) -> float:
    """Standard deviation of L2-normalised embeddings (N x dim) over the batch, mean over the
    dimensions. 0: all clips are mapped to one point, the encoder has collapsed. 1 / sqrt(dim):
    they are spread evenly over the sphere (Chen & He 2021, section 4.1)."""
    return float(embeddings.std(dim=0, correction=0).mean()) if len(embeddings) > 1 else 0.0


def healthy_std(dim: int) -> float:
    """What `embedding_std` is for embeddings spread evenly over the sphere."""
    return 1 / math.sqrt(dim)
