"""Feature stores in which a video's features are its number."""

from pathlib import Path

import numpy as np

from evaluate.features.store_writer import Origin, StoreWriter

IDENTITY = {"encoder": "trained", "clips": 2, "dataset_counts": '{"expected": 16}'}


CPU = {"device": "cpu", "torch": "2.14.1"}


def open_store(
    path: Path, dataset, identity=IDENTITY, videos=None, done: int = 0, computed_on=CPU
) -> StoreWriter:
    """Open a store of two clips of every video, but three of the second one, and write the features
    of the first `done` videos."""
    videos = dataset.videos if videos is None else videos
    spans = [
        [(0, 3), (4, min(7, video.frames - 1))] + [(8, 11)] * (i == 1)
        for i, video in enumerate(videos)
    ]
    origin = Origin(str(dataset.folder), "1.2", computed_on)
    store = StoreWriter(path, videos, spans, 3, identity, origin)
    fill(store, 0, done)
    return store


def fill(store: StoreWriter, first: int, last: int) -> None:
    for i in range(first, last):
        clips = np.array([[i] * 3, [i + 1] * 3] + [[i + 5] * 3] * (i == 1), np.float32)
        store.write([i], clips)


def whole(path: Path, dataset, videos=None) -> None:
    count = len(dataset.videos if videos is None else videos)
    open_store(path, dataset, videos=videos, done=count).close()
