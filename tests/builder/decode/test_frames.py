import numpy as np
import pytest
import simplejpeg

from builder.decode.frames import (
    Failure,
    FrameSettings,
    crash,
    index_frames,
    scaled_size,
    split_frames,
)
from builder.errors import BuilderError
from tests.builder.decode.decoded import built


def jpeg(height: int, width: int) -> bytes:
    noise = np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)
    return simplejpeg.encode_jpeg(noise)


def test_split_frames():
    small, large = jpeg(16, 24), jpeg(40, 8)
    # An end marker inside a header segment (a comment) ends nothing.
    commented = small[:2] + b"\xff\xfe\x00\x06a\xff\xd9b" + small[2:]
    offsets, sizes = split_frames(small + commented + large)
    ends = [len(small), len(small) + len(commented), len(small) + len(commented) + len(large)]
    assert offsets == [0, *ends]
    assert sizes == {(24, 16), (8, 40)}


@pytest.mark.parametrize(
    "tail", [b"", b"junk", b"\xff\xd8", b"\xff\xd8\xff", b"\xff\xd8\xff\xe0\x00\x10JFIF"]
)
def test_split_frames_leaves_out_what_is_no_frame(tail):
    one = jpeg(16, 16)
    assert split_frames(one + tail)[0] == [0, len(one)]
    assert split_frames(tail)[0] == [0]


@pytest.mark.parametrize(
    ("shown", "expected"),
    [((320, 240), (170, 128)), ((240, 320), (128, 170)), ((64, 64), (128, 128))],
)
def test_scaled_size(shown, expected):
    assert scaled_size(*shown, 128) == expected


def test_a_crash_is_the_fault_of_the_video_and_a_kill_is_not():
    assert crash("ffmpeg", 11) == Failure("decoder failed", "ffmpeg crashed (segfault)")
    with pytest.raises(BuilderError, match="running out of memory"):
        crash("ffmpeg", 9)
    with pytest.raises(BuilderError, match="The build was stopped"):
        crash("ffmpeg", 15)


@pytest.mark.parametrize("quality", [2, 10])
def test_index_frames_finds_what_split_frames_finds(make_video, tmp_path, quality):
    path = make_video(tmp_path / "a.avi", frames=50, pattern="testsrc2")
    frames = built(path, FrameSettings(short_side=48, jpeg_quality=quality))
    offsets, sizes = split_frames(frames.blob)
    assert index_frames(frames.blob) == (offsets, {bytes([0, 48, 0, 64])})
    assert sizes == {(64, 48)}
    assert index_frames(frames.blob + b"\xff\xd8\xff")[0] == offsets
