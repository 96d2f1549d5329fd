"""Both engines, and ffmpeg as the system brings it."""

from pathlib import Path

import pytest

from builder.decode import ffmpeg as ffmpeg_engine
from builder.decode.frames import FrameSettings

SYSTEM_FFMPEG = "/usr/bin/ffmpeg"  # often older than the one that comes along; not everywhere there


@pytest.fixture(params=["ffmpeg", "the system's ffmpeg", "pyav"])
def settings(request, monkeypatch) -> FrameSettings:
    """Each engine; ffmpeg in the version that comes along, and the one of the system."""
    if request.param == "the system's ffmpeg":
        if not Path(SYSTEM_FFMPEG).exists():
            pytest.skip(f"this system has no ffmpeg of its own ({SYSTEM_FFMPEG}) to try, too")
        monkeypatch.setattr(ffmpeg_engine, "find_ffmpeg", lambda: SYSTEM_FFMPEG)
    if request.param == "pyav":
        pytest.importorskip("av")
    return FrameSettings(short_side=16, engine="pyav" if request.param == "pyav" else "ffmpeg")
