from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from builder.decode.frames import FrameSettings
from builder.decode.shots import cuts_in, difference
from tests.builder.decode.decoded import built, ffmpeg

STILL = [0.2] * 10


@pytest.fixture(scope="module")
def three_shots(tmp_path_factory) -> Path:
    """20 frames, 25 and 15, of one picture each that moves."""
    path = tmp_path_factory.mktemp("shots") / "a.mkv"
    patterns = zip(("testsrc", "smptebars", "mandelbrot"), (20, 25, 15), strict=True)
    given = [f"-f lavfi -t {n / 25} -i {name}=size=64x48:rate=25" for name, n in patterns]
    words = " ".join(given).split()
    ffmpeg(*words, "-filter_complex", "concat=n=3", "-c:v", "mpeg4", "-q:v", 2, path)
    return path


def test_cuts_of_a_video(three_shots, settings):
    looked, plain = built(three_shots, replace(settings, shots=True)), built(three_shots, settings)
    assert looked.cuts == (20, 45) and plain.cuts is None
    assert replace(looked, cuts=None) == plain  # the same frames, byte for byte
    assert built(three_shots, replace(settings, shots=True, max_frames=45)).cuts == (20,)


def test_cuts_are_of_the_stored_frames(three_shots):
    assert built(three_shots, FrameSettings(32, fps=50, shots=True)).cuts == (40, 90)


def test_a_cut_is_a_large_change_that_stands_alone():
    assert cuts_in([0.0, *STILL, 30.0, *STILL]) == (11,)
    assert cuts_in([0.0, *STILL, 5.0, *STILL]) == ()  # not large enough
    assert cuts_in([0.0, *STILL, 30.0, 29.0, *STILL]) == ()  # a flash
    assert cuts_in([0.0] + [12.0, 9.0, 14.0] * 5) == ()  # motion
    assert cuts_in([0.0, *STILL, 30.0, *STILL, 25.0]) == (11, 22)
    assert cuts_in([0.0]) == cuts_in([]) == ()


def test_the_difference_is_in_percent():
    black, white = np.zeros((4, 6), np.uint8), np.full((4, 6), 255, np.uint8)
    assert difference(None, white) == 0
    assert difference(black, white) == difference(white, black) == pytest.approx(99.609)
