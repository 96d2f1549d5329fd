"""Copy features of the same frames from an earlier store into a new one, bit for bit."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from evaluate.features.store import Features
from evaluate.features.store_writer import StoreWriter

_AT_ONCE = 256  # videos copied before they are marked as done


@dataclass(frozen=True)
class Earlier:
    """A store that a new one replaces once it is complete.

    Attributes:
        store: path of the earlier store; None: there is none, and nothing is copied
        shards: final path of the new store's shards
        positions: {position in the new store: position in `store`} of videos with the same clips
            and network
    """

    store: Path | None
    shards: Path
    positions: Mapping[int, int]

    def copy_to(self, writer: StoreWriter) -> None:
        """Copy the features that the unfinished store lacks. Raises EvaluateError if the earlier
        store is damaged."""
        lacking = [new for new in sorted(self.positions) if not writer.done[new]]
        if self.store is None or not lacking:
            return
        earlier = Features(self.store)
        clips = np.split(
            earlier.clip_features,
            np.searchsorted(earlier.clip_video, np.arange(1, len(earlier.names))),
        )
        for first in range(0, len(lacking), _AT_ONCE):
            videos = lacking[first : first + _AT_ONCE]
            writer.write(videos, np.concatenate([clips[self.positions[new]] for new in videos]))
