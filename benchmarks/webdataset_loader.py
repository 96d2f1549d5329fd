"""Load clips with stock webdataset, in the layout of its documentation: a sample is a video, with
one tar member per frame.

    python -m benchmarks.webdataset_loader FOLDER all|needed SECONDS

all: webdataset's `.decode("rgb8")` decodes all frames of a video. needed: only the frames of the
clips are decoded. Either way all frames are read, as tar files are read sequentially.
"""

import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import webdataset

from benchmarks.clips_of_jpegs import (
    BATCH,
    WORKERS,
    Batch,
    TwoClips,
    cut,
    decode,
    normalised,
)
from benchmarks.loader_process import work
from builder.shards.dataset import Video, read_frames, read_offsets

VIDEOS = 32  # per shard
SHUFFLED = 100  # videos in a worker's shuffle buffer


def pack(videos: Sequence[Video], folder: Path) -> None:
    """Write the frames of our shards, byte for byte, as webdataset shards."""
    folder.mkdir()
    with webdataset.ShardWriter(str(folder / "%06d.tar"), maxcount=VIDEOS, verbose=0) as shards:
        for number, video in enumerate(videos):
            jpegs = read_frames(video, read_offsets(video), range(video.frames))
            frames = {f"{i:06d}.jpg": bytes(jpeg) for i, jpeg in enumerate(jpegs)}
            shards.write({"__key__": f"{number:09d}", **frames})


def batches(folder: Path, every: bool, workers: int = WORKERS) -> Iterator[Batch]:
    """Yield batches endlessly. `every` says whether to decode all frames."""
    shards = sorted(map(str, folder.glob("*.tar")))
    dataset = webdataset.WebDataset(shards, resampled=True, shardshuffle=False).shuffle(SHUFFLED)
    if every:
        dataset = dataset.decode("rgb8")
    dataset = dataset.map(partial(_clips, every)).batched(BATCH)
    return normalised(webdataset.WebLoader(dataset, batch_size=None, num_workers=workers))


def _clips(every: bool, sample: dict[str, Any]) -> TwoClips:
    frames = [sample[name] for name in sorted(name for name in sample if name.endswith(".jpg"))]

    def picture(number: int) -> np.ndarray:
        return frames[number] if every else decode(frames[number])

    return cut(int(sample["__key__"]), len(frames), picture)


if __name__ == "__main__":
    work(batches(Path(sys.argv[1]), sys.argv[2] == "all"), sys.argv[3])
