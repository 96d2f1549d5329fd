import pytest

from builder.decode.frames import FrameSettings


@pytest.fixture(params=["ffmpeg", "pyav"])
def settings(request) -> FrameSettings:
    """Settings of either engine: a test that uses them runs twice, with the same expectations."""
    return FrameSettings(short_side=32, engine=request.param)
