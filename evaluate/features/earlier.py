"""Features that an earlier store has of the same frames, copied into a new one bit for bit."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from evaluate.features.store import Features
from evaluate.features.store_writer import StoreWriter

_AT_ONCE = 256  # videos that are copied before they count as done


@dataclass(frozen=True)
class Earlier:
    """A store that another one takes the place of, once that is complete.

    Attributes:
        store: None: there is none yet, and nothing is copied
        shards: where the new store's shards will be when it has its name
        positions: of videos whose clips and network are the same: in the new store, and in `store`
    """

    store: Path | None
    shards: Path
    positions: Mapping[int, int]

    def copy_to(self, writer: StoreWriter) -> None:
        """Copy what the unfinished store lacks. Raises EvaluateError if the earlier one is
        damaged."""
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
