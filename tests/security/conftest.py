"""A fixture with both engines, and with the system's ffmpeg."""

from pathlib import Path

import pytest

from builder.decode import ffmpeg as ffmpeg_engine
from builder.decode.frames import FrameSettings

SYSTEM_FFMPEG = "/usr/bin/ffmpeg"  # often older than imageio-ffmpeg's; may be missing


@pytest.fixture(params=["ffmpeg", "the system's ffmpeg", "pyav"])
def settings(request, monkeypatch) -> FrameSettings:
    """Settings of each engine; for ffmpeg, with imageio-ffmpeg's version and with the system's."""
    if request.param == "the system's ffmpeg":
        if not Path(SYSTEM_FFMPEG).exists():
            pytest.skip(f"this system has no ffmpeg of its own ({SYSTEM_FFMPEG}) to try, too")
        monkeypatch.setattr(ffmpeg_engine, "find_ffmpeg", lambda: SYSTEM_FFMPEG)
    if request.param == "pyav":
        pytest.importorskip("av")
    return FrameSettings(short_side=16, engine="pyav" if request.param == "pyav" else "ffmpeg")
