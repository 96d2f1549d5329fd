"""Schedules: pure functions of (step, total)."""

import math
from collections.abc import Sequence
from typing import Protocol


class Length(Protocol):
    """The settings that decide how long training lasts."""

    @property
    def batch(self) -> int: ...
    @property
    def epochs(self) -> float: ...
    @property
    def steps(self) -> int: ...


def total_steps(length: Length, videos: int) -> int:
    """Number of training steps: `steps`, or if that is 0, those of `epochs` passes over the
    videos; at least 1."""
    return length.steps or max(1, round(length.epochs * videos / length.batch))


def warmup_cosine(step: int, total: int, warmup: float) -> float:
    """Factor on the learning rate: rises linearly to 1 over the first `warmup` (a fraction) of the
    steps, then falls along half a cosine to 0 at `total`, and stays 0 (Loshchilov & Hutter
    2017)."""
    rising = warmup * total
    if step < rising:
        return (step + 1) / (rising + 1)
    if step >= total:
        return 0.0
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / (total - rising)))


def warmup_drops(
    step: int, total: int, warmup: float, drops: Sequence[float], factor: float
) -> float:
    """Factor on the learning rate: rises as in `warmup_cosine` to 1, and is multiplied by `factor`
    at each of `drops` (fractions of the steps, rounded to a step)."""
    rising = warmup * total
    if step < rising:
        return (step + 1) / (rising + 1)
    return factor ** sum(step >= round(drop * total) for drop in drops)


def target_momentum(step: int, total: int, start: float) -> float:
    """Momentum of the target network: rises along half a cosine from `start` at step 0 to 1 at
    `total`: 1 - (1 - start)(cos(pi k / K) + 1) / 2 (BYOL; Feichtenhofer et al. 2021, appendix)."""
    if step >= total:
        return 1.0
    return 1 - (1 - start) * (math.cos(math.pi * step / total) + 1) / 2


def scaled_lr(lr: float, batch: int) -> float:
    """Learning rate for a batch of `batch` videos, given the rate `lr` for 64 (linear scaling,
    Goyal et al. 2017; 64 is RSPNet's base batch)."""
    return lr * batch / 64
