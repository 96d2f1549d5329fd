"""Make shards of videos with known motion: a bar moves from left to right at constant speed, so its
position in a frame tells the time of the frame."""

import json
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import simplejpeg

from builder.build.build import BuildSettings, How, build
from builder.catalog import folder
from builder.decode.frames import Frames, SourceFacts
from builder.shards.dataset import ShardDataset
from builder.shards.manifest import DATASET_FILE, VIDEOS_FILE

SPEED = 60  # pixels per second
WIDTH, HEIGHT = 320, 16  # pixels of a frame; the bar crosses it in 5 seconds
_BAR, _MARGIN = 6, 10  # pixels


def uneven_times() -> dict[str, tuple[float, ...]]:
    """Typical uneven frame times of videos of about 4 seconds, in seconds, by kind."""
    rng = np.random.default_rng(0)
    ticks = np.arange(1, 400)
    dropped = ticks[rng.random(399) < 0.3][:110] / 30  # a screen recording at 30 fps
    gaps = {
        "jitter": rng.choice([0.033, 0.034, 0.067, 0.017], size=100),  # as from a phone
        "half": np.array([1 / 60] * 100 + [1 / 12] * 25),  # fast, then slow
        "hole": np.array([0.04] * 30 + [1.2] + [0.04] * 40),
        "dropped": np.diff(np.concatenate([[0.0], dropped])),
    }
    times = {name: np.concatenate([[0.0], np.cumsum(own)]).round(6) for name, own in gaps.items()}
    return {name: tuple(own[own <= 4.5].tolist()) for name, own in times.items()}


def even_times(fps: float = 25.0, frames: int = 100) -> tuple[float, ...]:
    """Frame times of a video with constant frame rate, in seconds."""
    return tuple(i / fps for i in range(frames))


def draw(times: Sequence[float], even: bool, source_bytes: int = 1) -> Frames:
    """Draw the frames of a video with these frame times, as the result of a decoder."""
    columns = np.arange(WIDTH)
    jpegs = []
    for seconds in times:
        middle = _MARGIN + SPEED * seconds
        line = 255 * np.clip(_BAR / 2 + 0.5 - abs(columns - middle), 0, 1)  # with smooth edges
        picture = np.repeat(np.tile(line, (HEIGHT, 1))[..., None], 3, axis=2).astype(np.uint8)
        jpegs.append(simplejpeg.encode_jpeg(picture, quality=98))
    blob = b"".join(jpegs)
    offsets = (0, *np.cumsum([len(jpeg) for jpeg in jpegs]).tolist())
    digest = sha256(blob).hexdigest()
    rate = (len(times) - 1) / times[-1] if len(times) > 1 else 25.0
    kept = None if even else tuple(times)
    facts = SourceFacts(source_bytes=source_bytes, source_sha256="0" * 64, fps=rate)
    return Frames(blob, offsets, digest, WIDTH, HEIGHT, (), facts, fps=rate, times=kept)


def seconds_of(frames: np.ndarray) -> np.ndarray:
    """The time of each frame of a clip (uint8, T x H x W x 3), from the position of the bar."""
    light = frames.astype(np.float64).mean(axis=(1, 3))
    light[light < 60] = 0  # JPEG artefacts beside the bar
    middle = (light * np.arange(light.shape[1])).sum(axis=1) / light.sum(axis=1)
    seconds: np.ndarray = (middle - _MARGIN) / SPEED
    return seconds


def build_drawn(
    out: Path, source: Path, videos: dict[str, tuple[tuple[float, ...], bool]]
) -> ShardDataset:
    """Build shards, with the real builder but a patched decoder, of videos named `class/name.avi`,
    given by their frame times and whether these are even (and so not stored). All are training
    videos."""
    for name, (times, even) in videos.items():
        path = source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps([times, even]))
    split = "".join(f"{name},train\n" for name in videos)
    (source / "splits.csv").write_text(f"video,split\n{split}")

    def decode(path: Path, *more: Any) -> Frames:
        return draw(*json.loads(path.read_text()), source_bytes=path.stat().st_size)

    with patch("builder.build.job.transcode", decode):
        build(folder.read(source), out, BuildSettings(), How(workers=1))
    return ShardDataset(out)


def as_schema_2(folder: Path) -> None:
    """Rewrite the tables of shards with evenly spaced frames to schema 2, which had no times."""
    rows = [json.loads(line) for line in (folder / VIDEOS_FILE).read_text().splitlines()]
    for row in rows:
        row.pop("times", None)
    table = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / VIDEOS_FILE).write_text(table)
    manifest = ShardDataset(folder).manifest
    older = replace(
        manifest,
        schema=2,
        settings=manifest.settings | {"schema": 2},
        videos_jsonl_sha256=sha256(table.encode()).hexdigest(),
    )
    (folder / DATASET_FILE).write_text(older.text())
