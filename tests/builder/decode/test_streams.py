"""Which stream of a file is built: the one that a player plays."""

from pathlib import Path

import pytest

from builder.decode.frames import FrameSettings
from tests.builder.decode.decoded import built, count, failed, ffmpeg


def join(out: Path, *inputs: Path, options: str = "") -> Path:
    """A file with the video streams of all inputs, in their order."""
    words = [word for path in inputs for word in ("-i", path)]
    maps = [word for i in range(len(inputs)) for word in ("-map", f"{i}:v")]
    ffmpeg(*words, *maps, "-c", "copy", *options.split(), out)
    return out


@pytest.fixture
def film(make_video, tmp_path) -> Path:
    return make_video(tmp_path / "film.mkv", frames=20, size="96x64")


@pytest.fixture
def poster(make_video, tmp_path) -> Path:
    return make_video(tmp_path / "poster.mkv", frames=1, size="320x240", args="-c:v mjpeg")


def told(path: Path, settings: FrameSettings) -> tuple[int, int | None, int | None]:
    """Frames, stream and number of video streams."""
    frames = built(path, settings)
    return count(frames), frames.facts.stream, frames.facts.video_streams


@pytest.mark.parametrize(
    "flags",
    [
        "-disposition:v:0 0 -disposition:v:1 default",
        "-disposition:v:0 0 -disposition:v:1 0",
        "-disposition:v:0 default -disposition:v:1 default",
        "-disposition:v:0 default -disposition:v:1 0",
    ],
)
@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
def test_a_poster_before_the_film(film, poster, tmp_path, settings, flags, suffix):
    path = join(tmp_path / f"both.{suffix}", poster, film, options=flags)
    assert told(path, settings) == (20, 1, 2)


def test_the_default_or_else_the_largest_of_several_qualities(make_video, film, tmp_path, settings):
    small = make_video(tmp_path / "small.mkv", frames=12, size="48x32")
    none = "-disposition:v:0 0 -disposition:v:1 0 -disposition:v:2 0"
    path = join(tmp_path / "a.mkv", small, film, small, options=none)
    assert told(path, settings) == (20, 1, 3)
    flags = "-disposition:v:0 default -disposition:v:1 0"
    assert told(join(tmp_path / "b.mkv", small, film, options=flags), settings) == (12, 0, 2)


def test_a_cover_picture_is_never_the_video(film, poster, tmp_path, settings):
    path = join(tmp_path / "a.mp4", poster, film, options="-disposition:v:0 attached_pic")
    assert told(path, settings)[0::2] == (20, 1)
    song = tmp_path / "song.mp4"
    ffmpeg(
        *("-f", "lavfi", "-t", 1, "-i", "sine", "-i", poster, "-map", "0", "-map", "1"),
        *("-c:v", "copy", "-disposition:v:0", "attached_pic", song),
    )
    assert failed(song, settings).reason == "no video stream"


@pytest.mark.parametrize("damage", ["drop=1", "amount=1"])  # an empty stream, and one of noise
def test_a_broken_stream_before_the_film(film, make_video, tmp_path, settings, damage):
    large = make_video(tmp_path / "large.mkv", size="320x240", args="-c:v libx264")
    path = join(tmp_path / "both.mkv", large, film, options=f"-bsf:v:0 noise={damage}")
    assert told(path, settings) == (20, 1, 2)


def test_one_picture_is_a_video_of_one_frame(poster, settings):
    assert told(poster, settings) == (1, 0, 1)
