import os
import sys
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
import torch

from benchmarks import loaders, webdataset_loader
from benchmarks.clips_of_jpegs import BATCH, draw_frames
from benchmarks.loader_process import run
from benchmarks.loaders import difference, loaders_of, our_batches, our_clips


@pytest.fixture(scope="module")
def tars(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("loaders") / "tars"
    webdataset_loader.pack(our_batches(shards).videos, folder)
    return folder


def by_our_decoder(jpeg: bytes) -> np.ndarray:
    return simplejpeg.decode_jpeg(jpeg, fastdct=True, fastupsample=True)


def test_webdataset_gives_the_clips_that_ours_gives(shards, tars, monkeypatch):
    monkeypatch.setattr(webdataset_loader, "decode", by_our_decoder)
    batches = our_batches(shards)
    ours = next(iter(batches)).clips
    assert (ours.shape, ours.dtype) == ((2 * BATCH, 3, 16, 112, 112), torch.float32)
    gaps = {}
    for every in (True, False):
        theirs = next(webdataset_loader.batches(tars, every, workers=0))
        assert (theirs.clips.shape, theirs.clips.dtype) == (ours.shape, ours.dtype)
        assert theirs.frames.shape == (BATCH, 2, 16)
        same = our_clips(batches.videos, theirs.videos, theirs.frames)
        gaps[every] = float((theirs.clips - same).abs().mean())
    # Pillow smooths colour between pixels: a large part of frames as small and colourful as these.
    assert gaps[False] < 0.01 and gaps[True] < 0.4


def test_frames_are_drawn_at_both_strides_from_first_to_last():
    drawn = torch.stack([draw_frames(40) for _ in range(200)])
    assert {tuple(sorted(clips.diff()[:, 0].tolist())) for clips in drawn} == {(1, 2)}
    assert drawn.min() == 0 and drawn.max() == 39
    assert draw_frames(5).max() == 4


def test_memory_is_that_of_the_process_and_its_children():
    child = "x = bytearray(60 << 20); import time; time.sleep(1)"
    code = (
        f"import json, subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}]);"
        "print(json.dumps({'clips': 3, 'seconds': float(sys.argv[1])}))"
    )
    loaded = run([sys.executable, "-c", code], 0.5)
    assert (loaded.clips, loaded.seconds) == (3, 0.5)
    assert 60 << 20 < loaded.memory < 200 << 20


@pytest.mark.slow
def test_litdata_gives_the_clips_that_ours_gives(shards, tmp_path):
    if not os.environ.get("LITDATA"):
        pytest.skip("LITDATA names no Python with LitData, which cannot share one with pillow-simd")
    videos = our_batches(shards).videos
    ways = loaders_of(videos, shards, tmp_path)
    assert difference(ways["LitData, frames of the clips"], videos) < 25  # see above


def test_without_litdata_it_says_so(shards, tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("LITDATA", raising=False)
    videos = our_batches(shards).videos
    ways = loaders_of(videos, shards, tmp_path)
    assert capsys.readouterr().out.startswith("LitData is not measured: LITDATA names no Python")
    assert list(ways) == [
        loaders.OURS,
        "webdataset, frames of the clips",
        'webdataset, .decode("rgb8"), all frames',
    ]
    frames = sum(video.location.blob_bytes for video in videos)
    assert all(way.size > frames for way in ways.values())
