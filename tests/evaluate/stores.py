"""Feature stores with synthetic features."""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from builder.shards.dataset import Video
from builder.shards.format import Location
from evaluate.features.store import Features, StoreIdentity
from evaluate.features.store_writer import Origin, Spans, StoreWriter

FRAMES = 25  # per clip: one second at 25 fps


def video(name: str, clips: int, fps: float | None = 25.0, **more: object) -> Video:
    facts = {"class_name": None, "label": None, "group": name, "splits": {}} | more
    return Video(
        name=name,
        fps=fps,
        frames=FRAMES * clips,
        width=64,
        height=48,
        factors=None,
        shard=Path("x.tar"),
        location=Location(0, 0, 0, 0),
        **facts,
    )


def store_of(
    path: Path,
    videos: Sequence[Video],
    clips: Sequence[np.ndarray],
    spans: Spans | None = None,
    every: float = 0.0,
) -> Features:
    """Write a finished store with the given features (float32, clips x channels) of every video.
    `every` is its attribute for the seconds between clips."""
    spans = spans or [[(FRAMES * i, FRAMES * i + 15) for i in range(len(rows))] for rows in clips]
    identity: StoreIdentity = {"encoder": "trained", **({"every": every} if every else {})}
    origin = Origin("x", code="test", computed_on={})
    store = StoreWriter(path, videos, spans, clips[0].shape[1], identity, origin)
    store.write(range(len(videos)), np.concatenate(clips).astype(np.float32))
    store.close()
    return Features(path)


def content(path: Path) -> dict[str, object]:
    """The content of a store: its data sets and its attributes."""
    values: dict[str, object] = {}
    with h5py.File(path) as file:

        def add(name: str, item: h5py.Dataset | h5py.Group) -> None:
            if isinstance(item, h5py.Dataset):
                values[name] = item[:].tolist()

        file.visititems(add)
        return values | dict(file.attrs)


def random_store(path: Path, counts: Sequence[int], channels: int, seed: int = 0) -> Features:
    """Write a store of videos with `counts` clips each. Their features lie around a few centres, so
    many are similar."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(5, channels))
    clips = [
        np.abs(centres[rng.integers(5, size=n)] + 0.3 * rng.normal(size=(n, channels)))
        for n in counts
    ]
    return store_of(path, [video(f"{i}.mp4", n) for i, n in enumerate(counts)], clips)


_HOLD = """
import sys, h5py
with h5py.File(sys.argv[1], "r+"):
    print("open", flush=True)
    sys.stdin.read()
"""


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold a file open for writing in another process."""
    command = [sys.executable, "-c", _HOLD, str(path)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )
    try:
        assert process.stdout.readline() == "open\n"
        yield
    finally:
        process.communicate("")
