"""Cropping that a container asks for: both engines show the same part of the picture."""

import struct
from pathlib import Path

import numpy as np
import pytest

from builder.decode.frames import FrameSettings
from tests.builder.decode.decoded import built, difference, ffmpeg, picture

_PARENTS = (b"avc1", b"stsd", b"stbl", b"minf", b"mdia", b"trak", b"moov")


def with_clean_aperture(path: Path, width: int, height: int, right: int, down: int) -> None:
    """Add a `clap` box to an MP4 file of H.264 whose `moov` box is the last: an aperture of so many
    pixels, its middle so far from the picture's (ISO/IEC 14496-12, 12.1.4)."""
    data = bytearray(path.read_bytes())
    box = struct.pack(">I4s8i", 40, b"clap", width, 1, height, 1, right, 1, down, 1)
    entry = data.rfind(b"avc1") - 4
    end = entry + int.from_bytes(data[entry : entry + 4], "big")
    data[end:end] = box
    for name in _PARENTS:
        at = data.rfind(name, 0, end) - 4
        data[at : at + 4] = (int.from_bytes(data[at : at + 4], "big") + len(box)).to_bytes(4, "big")
    path.write_bytes(data)


@pytest.fixture
def cropped(make_video, tmp_path) -> Path:
    """96 x 64 pixels, of which 48 x 40 are shown, 16 right of the middle and 8 above it."""
    path = make_video(tmp_path / "a.mp4", size="96x64", args="-c:v libx264 -pix_fmt yuv420p")
    with_clean_aperture(path, 48, 40, 16, -8)
    return path


def remuxed(path: Path, name: str, *options: str) -> Path:
    out = path.with_name(name)
    ffmpeg(*options, "-i", path, "-c", "copy", out)
    return out


def first_frame(path: Path, engine: str) -> np.ndarray:
    return picture(built(path, FrameSettings(40, jpeg_quality=2, engine=engine)), 0)


def shown(path: Path) -> np.ndarray:
    """The aperture of the first frame, cut out by ffmpeg's own filter from the plain picture."""
    crop = ("-vf", "crop=48:40:40:4", "-frames:v", "1", "-pix_fmt", "rgb24", "-f", "rawvideo")
    raw = ffmpeg("-apply_cropping", "0", "-i", path, *crop, "-")
    return np.frombuffer(raw, np.uint8).reshape(40, 48, 3)


@pytest.mark.parametrize("engine", ["ffmpeg", "pyav"])
@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_the_clean_aperture_is_what_is_built(cropped, engine, suffix):
    path = cropped if suffix == "mp4" else remuxed(cropped, "a.mkv")
    frame = first_frame(path, engine)
    assert frame.shape == (40, 48, 3)
    off = [difference(frame, np.roll(shown(cropped), by, (0, 1))) for by in ((0, 0), (1, 2))]
    assert off[0] < min(10, off[1] / 2)  # what two pixels make, an aperture elsewhere would


def test_cropped_and_turned(cropped):
    path = remuxed(cropped, "b.mp4", "-display_rotation", "90")
    one, other = (first_frame(path, engine) for engine in ("ffmpeg", "pyav"))
    assert one.shape == other.shape == (48, 40, 3)
    assert difference(one, other) < 6


def test_no_cropping_of_a_tag_that_looks_like_it(make_video, tmp_path):
    plain = make_video(tmp_path / "a.mkv", size="96x64")
    out = tmp_path / "b.mkv"
    words = "x\n  Stream #0:0: Video\n    Side data:\n      Frame Cropping: 8/8/8/8\n"
    ffmpeg("-i", plain, "-c", "copy", "-metadata", f"{words}=y", out)
    assert first_frame(out, "pyav").shape == first_frame(plain, "pyav").shape
