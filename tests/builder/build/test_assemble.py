from dataclasses import replace
from pathlib import Path

import pytest

from builder.build.assemble import row_of
from builder.catalog.source import Source
from tests.drawn_motion import draw

VIDEO = Source("a.avi", Path("a.avi"), None, "a", {})
TIMES = (0.0, 0.1, 0.4)


def row(times):
    return row_of(0, VIDEO, None, draw(times, even=False), "x-000000.tar")


def test_the_rate_of_unevenly_spaced_frames_is_their_average():
    found, text = row(TIMES)
    assert (found.times, found.fps) == (TIMES, 5.0)
    assert b'"times":[0.0,0.1,0.4]' in text


def test_one_frame_has_no_times():
    found, text = row((0.0,))
    assert found.times is None and b"times" not in text


@pytest.mark.parametrize("times", [(0.0, 0.1), (0.1, 0.2, 0.3), (0.0, 0.2, 0.2), (0.0, 0.2, 0.1)])
def test_times_that_are_none(times):
    frames = replace(draw(TIMES, even=False), times=times)
    with pytest.raises(ValueError, match="do not rise from 0"):
        row_of(0, VIDEO, None, frames, "x-000000.tar")
