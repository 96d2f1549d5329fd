"""Periodic evaluation of the backbone during training."""

from collections.abc import Callable
from dataclasses import dataclass

from trainer.backbones.base import Backbone


@dataclass(frozen=True)
class Probing:
    """An evaluation of the backbone at regular intervals, for the log.

    Attributes:
        every: interval in steps; the last step is evaluated, too
        look: maps the backbone to metrics by their names in the log. It must leave the backbone and
            torch's generators unchanged
    """

    every: int
    look: Callable[[Backbone], dict[str, float]]

    def is_due(self, done: int, total: int) -> bool:
        """Whether to evaluate after `done` of `total` steps."""
        return done % self.every == 0 or done == total
