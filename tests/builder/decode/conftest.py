import pytest

from builder.decode.frames import FrameSettings


@pytest.fixture(params=["ffmpeg", "pyav"])
def settings(request) -> FrameSettings:
    """A test that asks for these runs with both engines and expects the same of them."""
    return FrameSettings(short_side=32, engine=request.param)
