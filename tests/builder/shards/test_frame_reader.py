from dataclasses import replace

import numpy as np
import pytest

from builder.errors import BuilderError
from builder.shards import frame_reader
from builder.shards.dataset import read_frames, read_offsets
from builder.shards.frame_reader import FrameReader


@pytest.mark.parametrize("near", [1, 3, 64])
@pytest.mark.parametrize("kept", [0, 1 << 20])
@pytest.mark.parametrize("frames", [[0], [2, 3, 4], [0, 2, 4, 6], [0, 1, 6, 7]])
def test_the_frames_that_are_asked_for(dataset, monkeypatch, near, kept, frames):
    monkeypatch.setattr(frame_reader, "_NEAR", near)
    monkeypatch.setattr(frame_reader, "_KEPT", kept)
    reader = FrameReader()
    reader._memory = memoryview(bytearray(10))
    long = [video for video in dataset.videos if video.frames > 7]
    assert len(long) > 2
    for video in long:
        offsets = read_offsets(video)
        jpegs = reader.read(video, offsets.astype(np.uint32), frames)
        assert [bytes(jpegs[f]) for f in frames] == read_frames(video, offsets, frames)
    assert (len(reader._memory) > 10) == bool(kept)


def test_a_shard_that_was_cut(dataset, tmp_path):
    video = dataset.videos[1]
    cut = tmp_path / "cut.tar"
    offsets = read_offsets(video)
    cut.write_bytes(video.shard.read_bytes()[: video.location.blob_start + int(offsets[3]) + 1])
    with pytest.raises(BuilderError, match="ends inside"):
        FrameReader().read(replace(video, shard=cut), offsets, [2, 3])
