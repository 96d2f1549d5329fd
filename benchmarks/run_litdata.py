"""Load clips with LitData, in the Python that it is installed in.

    python -m benchmarks.run_litdata pack FOLDER_OF_TAR_FILES FOLDER
    python -m benchmarks.run_litdata load FOLDER SECONDS

A sample is a video: its JPEGs back to back, and the byte offset of each one's end, so that only the
frames of the clips are decoded. (LitData's own list of JPEGs would be decoded completely.)
"""

import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import litdata
import numpy as np

from benchmarks.clips_of_jpegs import BATCH, WORKERS, Batch, TwoClips, cut, decode, normalised
from benchmarks.loader_process import work


def videos_of(path: str) -> Iterator[dict[str, Any]]:
    """Yield the videos in a tar file written by webdataset_loader.py."""
    videos: dict[int, list[bytes]] = {}
    with tarfile.open(path) as tar:
        for member in tar:
            if content := tar.extractfile(member):
                videos.setdefault(int(member.name.partition(".")[0]), []).append(content.read())
    for number, jpegs in videos.items():
        ends = np.cumsum([len(jpeg) for jpeg in jpegs])
        yield {"video": number, "frames": b"".join(jpegs), "ends": ends}


def pack(tars: Path, folder: Path) -> None:
    inputs = sorted(map(str, tars.glob("*.tar")))
    litdata.optimize(
        fn=videos_of, inputs=inputs, output_dir=str(folder), chunk_bytes="64MB", num_workers=1
    )


def clips_of(sample: dict[str, Any]) -> TwoClips:
    ends = [0, *sample["ends"].tolist()]

    def picture(number: int) -> np.ndarray:
        return decode(sample["frames"][ends[number] : ends[number + 1]])

    return cut(sample["video"], len(ends) - 1, picture)


def batches(folder: Path) -> Iterator[Batch]:
    """Yield batches endlessly."""
    dataset = litdata.StreamingDataset(
        str(folder), shuffle=True, drop_last=False, transform=clips_of
    )
    endless = litdata.ParallelStreamingDataset([dataset], length=float("inf"))
    loader = litdata.StreamingDataLoader(endless, batch_size=BATCH, num_workers=WORKERS)
    return normalised(batch for (batch,) in loader)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["pack", tars, folder]:
            pack(Path(tars), Path(folder))
        case ["load", folder, what]:
            work(batches(Path(folder)), what)
