"""A look at the backbone while it is trained."""

from collections.abc import Callable
from dataclasses import dataclass

from trainer.backbones.base import Backbone


@dataclass(frozen=True)
class Probing:
    """What is asked of the backbone now and then, and logged.

    Attributes:
        every: steps; the last step is looked at, too
        look: from the backbone to figures by their name in the log. It leaves the backbone, and
            torch's generators, as they were
    """

    every: int
    look: Callable[[Backbone], dict[str, float]]

    def is_due(self, done: int, total: int) -> bool:
        return done % self.every == 0 or done == total
