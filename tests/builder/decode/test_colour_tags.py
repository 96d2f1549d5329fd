"""Colours of built frames against an independent conversion in NumPy."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from builder.decode.frames import Frames, FrameSettings
from tests.builder.decode.decoded import built, ffmpeg, picture

# Kr and Kb of ITU-T H.273, table 4, by ffmpeg's names; luma is Kr R + (1 - Kr - Kb) G + Kb B.
LUMA = {
    "bt709": (0.2126, 0.0722),
    "fcc": (0.30, 0.11),
    "bt470bg": (0.299, 0.114),
    "smpte170m": (0.299, 0.114),
    "smpte240m": (0.212, 0.087),
    "bt2020nc": (0.2627, 0.0593),
    "unknown": (0.299, 0.114),
}
RANGES = {"tv": (16, 219, 224), "pc": (0, 255, 255)}
LEVELS = (0, 192, 255)
COLOURS = np.array([[r, g, b] for r in LEVELS for g in LEVELS for b in LEVELS], float)
SIDE = 32  # pixels of a patch
ROWS, COLUMNS = 3, 9


def to_yuv(rgb: np.ndarray, matrix: str, level: str) -> np.ndarray:
    """N x 3 colours of 0 to 255 as whole numbers of luma, Cb and Cr."""
    kr, kb = LUMA[matrix]
    low, luma, chroma = RANGES[level]
    r, g, b = (rgb / 255).T
    y = kr * r + (1 - kr - kb) * g + kb * b
    parts = [low + luma * y]
    parts += [128 + chroma * (b - y) / 2 / (1 - kb), 128 + chroma * (r - y) / 2 / (1 - kr)]
    return np.clip(np.round(np.stack(parts, 1)), 0, 255)


def to_rgb(yuv: np.ndarray, matrix: str, level: str) -> np.ndarray:
    """What the numbers mean: N x 3 colours of 0 to 255."""
    kr, kb = LUMA[matrix]
    low, luma, chroma = RANGES[level]
    y, u, v = (yuv[:, 0] - low) / luma, *((yuv[:, 1:] - 128) / chroma).T
    r, b = y + 2 * (1 - kr) * v, y + 2 * (1 - kb) * u
    g = (y - kr * r - kb * b) / (1 - kr - kb)
    return np.clip(np.stack([r, g, b], 1) * 255, 0, 255)


def encode(path: Path, yuv: np.ndarray, *tags: str) -> Path:
    """A lossless H.264 file of three frames of patches in these colours."""
    planes = b""
    for channel, side in ((0, SIDE), (1, SIDE // 2), (2, SIDE // 2)):
        plane = np.kron(yuv[:, channel].reshape(ROWS, COLUMNS), np.ones((side, side)))
        planes += plane.astype(np.uint8).tobytes()
    size = f"{COLUMNS * SIDE}x{ROWS * SIDE}"
    raw = ("-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", size, "-r", "5", "-i", "-")
    ffmpeg(*raw, "-c:v", "libx264", "-qp", "0", *tags, path, given=planes * 3)
    return path


def tagged(matrix: str, level: str) -> tuple[str, ...]:
    if matrix == "unknown":
        return ("-vf", f"setparams=range={level}", "-color_range", level)
    names = f"setparams=colorspace={matrix}:range={level}"
    return ("-vf", names, "-colorspace", matrix, "-color_range", level)


def patches(frames: Frames) -> np.ndarray:
    """N x 3 mean colours of the middles of the patches of the first frame."""
    first = picture(frames, 0).astype(float)
    height, width = first.shape[0] / ROWS, first.shape[1] / COLUMNS
    return np.array(
        [
            first[
                int(height * (row + 0.3)) : int(height * (row + 0.7)),
                int(width * (column + 0.3)) : int(width * (column + 0.7)),
            ].mean((0, 1))
            for row in range(ROWS)
            for column in range(COLUMNS)
        ]
    )


def decoded(path: Path, settings: FrameSettings, side: int = ROWS * SIDE) -> Frames:
    return built(path, replace(settings, short_side=side, jpeg_quality=2))


@pytest.mark.parametrize("level", RANGES)
@pytest.mark.parametrize("matrix", LUMA)
def test_frames_have_the_colours_that_the_file_means(tmp_path, matrix, level, settings):
    yuv = to_yuv(COLOURS, matrix, level)
    frames = decoded(encode(tmp_path / "a.mp4", yuv, *tagged(matrix, level)), settings)
    off = np.abs(patches(frames) - to_rgb(yuv, matrix, level))
    assert off.mean() < 1
    assert off.max() < 3  # and a matrix that is not converted is off by 25 or more, fcc by 2
    assert frames.warnings == ()


@pytest.mark.parametrize("matrix", ["bt709", "smpte240m"])
def test_colours_are_right_when_the_picture_gets_smaller(tmp_path, matrix, settings):
    yuv = to_yuv(COLOURS, matrix, "tv")
    path = encode(tmp_path / "a.mp4", yuv, *tagged(matrix, "tv"))
    off = np.abs(patches(decoded(path, settings, side=48)) - to_rgb(yuv, matrix, "tv"))
    assert off.mean() < 2
    assert off.max() < 8  # patches of 16 pixels; neighbours shine through


@pytest.mark.parametrize("name", ["matrix_coefficients", "transfer_characteristics"])
@pytest.mark.parametrize("number", [0, 3, *range(8, 19), 250])
def test_no_colour_tag_costs_a_video(tmp_path, name, number, settings):
    yuv = to_yuv(COLOURS, "unknown", "tv")
    path = tmp_path / "b.mp4"
    tag = f"h264_metadata={name}={number}"
    plain = encode(tmp_path / "a.mp4", yuv)
    ffmpeg("-i", plain, "-c", "copy", "-bsf:v", tag, path)
    frames = decoded(path, settings)
    is_matrix = name == "matrix_coefficients"
    # What H.273 reserves (3, 18, 250), libav itself reads as untagged.
    refused = number in ((0, 8, *range(10, 18)) if is_matrix else (9, 10))
    assert frames.warnings == (("colour tag",) if refused else ())
    assert ("taken as unknown" in frames.detail) == refused
    if (is_matrix, number) != (True, 9):
        off = np.abs(patches(frames) - to_rgb(yuv, "unknown", "tv"))
        assert off.mean() < 1
        assert off.max() < 3
